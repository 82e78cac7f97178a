//! The store on each of the three databases.

mod admin;
mod bad_rows;
mod commits;
mod databases;
mod deadlines;
mod invariants;
mod opening;
mod proxy;
mod million;
mod routes;
mod statuses;
