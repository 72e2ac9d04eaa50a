-- Which database the store is in, by the numbers that the server gave to it and to its tables. A restored dump has others.
ALTER TABLE store ADD COLUMN home text;
