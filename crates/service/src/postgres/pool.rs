//! A pool of sessions, for commands that ask several questions at once. Each is pinned like every session. `run` uses no pool:
//! its connections live as long as it does, and the loss of one has consequences.

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;

use super::session::Purpose;
use super::{ConnectError, address, connect_with_task};
use crate::config::Postgres;
use crate::traffic::Traffic;

/// A session. It returns to the pool on drop.
pub type Session = Object<Maker>;

/// Makes the pool's sessions.
#[derive(Debug)]
pub struct Maker {
    postgres: Postgres,
    application_name: String,
    purpose: Purpose,
}

impl Manager for Maker {
    type Type = ClientWrapper;
    type Error = ConnectError;

    async fn create(&self) -> Result<ClientWrapper, ConnectError> {
        let Self { postgres, application_name, purpose } = self;
        // on the heap, because every question of a command holds one of these futures
        let traffic = Traffic::default();
        let connecting = Box::pin(connect_with_task(postgres, application_name, *purpose, &traffic));
        let (client, task) = connecting.await?;
        Ok(ClientWrapper::new(client, task))
    }

    /// No user changes a session, so there is nothing to reset.
    async fn recycle(&self, session: &mut ClientWrapper, _: &Metrics) -> RecycleResult<ConnectError> {
        if session.is_closed() { Err(RecycleError::message("the connection is gone")) } else { Ok(()) }
    }
}

/// Sessions for one purpose, at most `postgres.pool_connections_max` at a time.
#[derive(Clone, Debug)]
pub struct Sessions(Pool<Maker>);

impl Sessions {
    /// A pool that has made no session yet.
    ///
    /// # Panics
    /// Never: a pool without time limits needs no runtime.
    pub fn new(postgres: &Postgres, application_name: &str, purpose: Purpose) -> Self {
        let application_name = application_name.to_owned();
        let maker = Maker { postgres: postgres.clone(), application_name, purpose };
        let size = postgres.pool_connections_max.max(1);
        match Pool::builder(maker).max_size(size).build() {
            Ok(pool) => Self(pool),
            Err(error) => unreachable!("a pool without time limits: {error}"),
        }
    }

    /// A session that was used before, or a new one. Waits while all are in use; the caller limits that.
    ///
    /// # Errors
    /// As [`super::connect`].
    pub async fn get(&self) -> Result<Session, ConnectError> {
        Box::pin(self.0.get()).await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            // neither happens: the pool has no time limit of its own, and it is never closed
            _ => ConnectError::timed_out(address(&self.0.manager().postgres)),
        })
    }
}
