//! One test, three databases.

/// Makes `name::sqlite`, `name::postgres` and `name::mariadb` of one function.
///
/// ```ignore
/// on_each_database! {
///     async fn r10_closing_holds_when_the_call_returns(kind: Kind) { … }
/// }
/// ```
macro_rules! on_each_database {
    ($($(#[$attribute:meta])* async fn $name:ident($kind:ident: Kind) $body:block)+) => {
        $(mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$attribute])*
            async fn on($kind: $crate::databases::Kind) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                on($crate::databases::Kind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                on($crate::databases::Kind::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                on($crate::databases::Kind::Mariadb).await;
            }
        })+
    };
}
