//! Small contracts that the tests of the mechanism stand on, and ones that the generator must take.

::transport::include_contracts!();
