//! The embedded store: one SQLite file.

use super::{Access, Store, StoreError, Writer};
use crate::model::{Agent, Batch, Event, Finding, Notice};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use rusqlite_migration::{M, Migrations};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Never changed once released: a new version of the schema is a new entry.
const STEPS: &[M<'_>] = &[M::up(include_str!("schema.sql"))];

/// How long to wait for another process that holds the file.
const BUSY: Duration = Duration::from_secs(5);

pub struct Sqlite {
    path: PathBuf,
    reader: Mutex<Connection>,
}

impl Sqlite {
    pub fn open(path: &Path, access: Access) -> Result<Self, StoreError> {
        match access {
            Access::Read if !path.exists() => return Err(StoreError::Absent(path.to_owned())),
            Access::Read => {}
            Access::Write => create(path)?,
        }
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Self { path: path.to_owned(), reader: Mutex::new(reader) })
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        query(&reader).map_err(at(&self.path))
    }
}

/// Creates the file and brings its schema up to date. What it names is not for everybody: it is its owner's only.
fn create(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Create { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let mut writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Readers go on while the writer writes.
    writer.pragma_update(None, "journal_mode", "wal").map_err(at(path))?;
    Migrations::from_slice(STEPS)
        .to_latest(&mut writer)
        .map_err(|source| StoreError::Migrate { path: path.to_owned(), source })
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(at(path))?;
    connection.busy_timeout(BUSY).map_err(at(path))?;
    Ok(connection)
}

fn at(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
    |source| StoreError::Sqlite { path: path.to_owned(), source }
}

impl Store for Sqlite {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Every commit reaches the disk before it is acknowledged; one commit serves many batches.
        connection.pragma_update(None, "synchronous", "full").map_err(at(&self.path))?;
        Ok(Box::new(SqliteWriter { path: self.path.clone(), connection }))
    }

    fn findings(&self, limit: usize, before: Option<&str>) -> Result<Vec<Finding>, StoreError> {
        const QUERY: &str = "SELECT f.body, coalesce(r.repeats, 0) FROM findings f
            LEFT JOIN repeats r ON r.finding = f.id
            WHERE ?1 IS NULL OR f.id < ?1 ORDER BY f.id DESC LIMIT ?2";
        let rows: Vec<(String, u64)> = self.read(|reader| {
            let mut query = reader.prepare_cached(QUERY)?;
            query.query_map(params![before, limit], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        let finding =
            |(body, repeats): (String, u64)| Ok(Finding { repeats, ..serde_json::from_str(&body)? });
        rows.into_iter().map(finding).collect()
    }

    fn agents(&self, limit: usize) -> Result<Vec<Agent>, StoreError> {
        self.read(|reader| {
            let mut losses = reader.prepare_cached("SELECT cause, total FROM losses WHERE run = ?1")?;
            let mut query = reader.prepare_cached(
                "SELECT run, host, version, mode, kernel, hooks, seen FROM agents ORDER BY seen DESC, run DESC LIMIT ?1",
            )?;
            let agents = query.query_map([limit], |row| {
                let run: String = row.get(0)?;
                let totals = losses.query_map([&run], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(Agent {
                    losses: totals.collect::<rusqlite::Result<BTreeMap<String, u64>>>()?,
                    run,
                    host: row.get(1)?,
                    version: row.get(2)?,
                    mode: row.get(3)?,
                    kernel: row.get(4)?,
                    hooks: serde_json::from_str(&row.get::<_, String>(5)?).unwrap_or_default(),
                    seen: Timestamp::from_millisecond(row.get(6)?).unwrap_or_default(),
                })
            })?;
            agents.collect()
        })
    }

    fn notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError> {
        let bodies: Vec<String> = self.read(|reader| {
            let mut query = reader.prepare_cached("SELECT body FROM notices ORDER BY id DESC LIMIT ?1")?;
            query.query_map([limit], |row| row.get(0))?.collect()
        })?;
        bodies.iter().map(|body| Ok(serde_json::from_str(body)?)).collect()
    }
}

struct SqliteWriter {
    path: PathBuf,
    connection: Connection,
}

impl Writer for SqliteWriter {
    fn commit(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        let wrong = at(&self.path);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&wrong)?;
        for batch in batches {
            agent(&transaction, &batch.agent).map_err(&wrong)?;
            for event in &batch.events {
                store(&transaction, &batch.agent.run, event, &wrong)?;
            }
        }
        transaction.commit().map_err(&wrong)
    }
}

fn agent(transaction: &Transaction<'_>, agent: &Agent) -> rusqlite::Result<()> {
    let hooks = serde_json::Value::from(agent.hooks.as_slice()).to_string();
    transaction
        .prepare_cached(
            "INSERT INTO agents (run, host, version, mode, kernel, hooks, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT (run) DO UPDATE SET host = excluded.host, version = excluded.version, mode = excluded.mode,
            kernel = excluded.kernel, hooks = excluded.hooks, seen = max(seen, excluded.seen)",
        )?
        .execute(params![
            agent.run,
            agent.host,
            agent.version,
            agent.mode,
            agent.kernel,
            hooks,
            agent.seen.as_millisecond()
        ])?;
    Ok(())
}

/// Stores one event. Each statement does nothing the second time.
fn store(
    transaction: &Transaction<'_>,
    run: &str,
    event: &Event,
    wrong: &impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let execute = |statement: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(statement).and_then(|mut s| s.execute(values)).map(|_| ()).map_err(wrong)
    };
    match event {
        Event::Finding(finding) => execute(
            "INSERT OR IGNORE INTO findings (id, run, body) VALUES (?1, ?2, ?3)",
            &[&finding.id, &run, &serde_json::to_string(finding)?],
        ),
        Event::Notice(notice) => execute(
            "INSERT OR IGNORE INTO notices (id, run, body) VALUES (?1, ?2, ?3)",
            &[&notice.id, &run, &serde_json::to_string(notice)?],
        ),
        Event::Repeat { finding, repeats } => execute(
            "INSERT INTO repeats (finding, repeats) VALUES (?1, ?2)
            ON CONFLICT (finding) DO UPDATE SET repeats = max(repeats, excluded.repeats)",
            &[finding, repeats],
        ),
        Event::Loss(totals) => totals.iter().try_for_each(|(cause, total)| {
            execute(
                "INSERT INTO losses (run, cause, total) VALUES (?1, ?2, ?3)
                ON CONFLICT (run, cause) DO UPDATE SET total = max(total, excluded.total)",
                &[&run, cause, total],
            )
        }),
    }
}
