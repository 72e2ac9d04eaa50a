//! Every statement that the store sends fits the engines that only speak the protocol, and poolers in transaction mode.

use std::ops::ControlFlow;

use engine::store::conformance;
use postgres_store::testing::{Release, statements};
use sqlparser::ast::{Expr, Query, Select, Statement, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// Functions that hold state beside a transaction, or that other engines do not have.
const FUNCTIONS: &[&str] =
    &["advisory", "nextval", "currval", "setval", "lastval", "pg_notify", "set_config", "pg_sleep"];

/// Finds what the store does not use.
#[derive(Default)]
struct Banned(Vec<String>);

impl Visitor for Banned {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for lock in &query.locks {
            if lock.nonblock.is_some() {
                self.0.push(format!("a lock that does not wait: {lock}"));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.into.is_some() {
            self.0.push(format!("a table that is made by a query: {select}"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let name = function.name.to_string().to_lowercase();
            if FUNCTIONS.iter().any(|banned| name.contains(banned)) {
                self.0.push(format!("function {name}"));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        let plain = matches!(
            statement,
            Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_)
        );
        if !plain {
            self.0.push(format!("statement {statement}"));
        }
        ControlFlow::Continue(())
    }
}

/// What of a statement the store may not use.
fn banned(statement: &str) -> Vec<String> {
    let parsed =
        Parser::parse_sql(&PostgreSqlDialect {}, statement).unwrap_or_else(|error| panic!("{error} in {statement}"));
    let mut banned = Banned::default();
    assert_eq!(parsed.len(), 1, "{statement}");
    let _all = parsed.visit(&mut banned);
    banned.0
}

#[test]
fn a_statement_that_does_not_fit_is_found() {
    for statement in [
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT id FROM live FOR UPDATE SKIP LOCKED",
        "WITH one AS (SELECT id FROM live FOR UPDATE NOWAIT) SELECT id FROM one",
        "INSERT INTO audit (number) VALUES (nextval('numbers'))",
        "LISTEN runs",
        "NOTIFY runs",
        "SET search_path = other",
        "SAVEPOINT one",
        "CREATE TEMPORARY TABLE one (id integer)",
        "TRUNCATE live",
        "PREPARE one AS SELECT 1",
        "SELECT id INTO two FROM live",
    ] {
        assert_ne!(banned(statement), [""; 0], "{statement}");
    }
    assert_eq!(banned("UPDATE live SET owner = NULL WHERE id = $1 RETURNING id"), [""; 0]);
}

#[tokio::test]
async fn no_statement_uses_what_other_engines_or_poolers_do_not_have() {
    conformance::suite(&crate::suite::Databases::of(Release::Newest)).await;
    let statements = statements::all();
    assert!(statements.len() > 80, "the suite sends {} statements", statements.len());
    let found: Vec<_> =
        statements.iter().map(|sql| (sql, banned(sql))).filter(|(_, found)| !found.is_empty()).collect();
    assert!(found.is_empty(), "{found:#?}");
}
