//! The statements of a transaction.

use crate::store::rows::{id, signed};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};

/// Rows of one statement at most; fewer go in powers of two, so that there are few statements to prepare.
const ROWS_MAX: usize = 128;
/// A transaction of at most so many rows goes to the database as one text: each statement by itself is a way to another
/// thread and back. Larger ones do not, because there would be too many texts to prepare.
const ROWS_OF_ONE_TEXT: usize = 12;

/// The values of a statement, in their order.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    /// A value that cannot be bound; told when the statement is run.
    wrong: Option<sqlx::Error>,
}

impl Values {
    pub(super) fn add<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.wrong = Some(sqlx::Error::Encode(error));
        }
        self
    }

    pub(super) fn id(&mut self, bits: u128) -> &mut Self {
        self.add(id(bits))
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.add(signed(number))
    }
}

/// A transaction: its statements are run one by one, or gathered into one text that is run at the end.
pub(super) struct Script<'c> {
    connection: &'c mut SqliteConnection,
    gathered: Option<(String, Values)>,
}

impl<'c> Script<'c> {
    /// Begins a transaction of about so many rows.
    pub(super) async fn begin(connection: &'c mut SqliteConnection, rows: usize) -> Result<Self, sqlx::Error> {
        if rows <= ROWS_OF_ONE_TEXT {
            let gathered = Some(("BEGIN IMMEDIATE; ".to_owned(), Values::default()));
            return Ok(Self { connection, gathered });
        }
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        Ok(Self { connection, gathered: None })
    }

    /// The text is made of constants alone.
    pub(super) async fn statement(&mut self, text: &str, fill: impl FnOnce(&mut Values)) -> Result<(), sqlx::Error> {
        if let Some((texts, values)) = &mut self.gathered {
            texts.push_str(text);
            texts.push_str("; ");
            fill(values);
            return Ok(());
        }
        let mut values = Values::default();
        fill(&mut values);
        self.run(text.to_owned(), values).await
    }

    async fn run(&mut self, text: String, values: Values) -> Result<(), sqlx::Error> {
        if let Some(error) = values.wrong {
            return Err(error);
        }
        let query = sqlx::query_with(AssertSqlSafe(text), values.arguments);
        query.execute(&mut *self.connection).await.map(drop)
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let outcome = match self.gathered.take() {
            Some((text, values)) => self.run(text + "COMMIT", values).await,
            None => sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await.map(drop),
        };
        if outcome.is_err() {
            self.give_up().await;
        }
        outcome
    }

    /// What cannot be rolled back is not committed either: the connection ends with this engine.
    pub(super) async fn give_up(self) {
        let _ = sqlx::raw_sql("ROLLBACK").execute(self.connection).await;
    }

    /// Inserts rows, many with each statement. `columns` is how many values a row has.
    pub(super) async fn insert<T>(
        &mut self,
        head: &str,
        columns: usize,
        rows: Vec<T>,
        fill: impl Fn(&mut Values, T),
    ) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let row = format!("({})", vec!["?"; columns].join(", "));
        self.each_chunk(head, &row, "", rows, fill).await
    }

    /// Removes rows by their keys, many with each statement.
    pub(super) async fn remove<T>(
        &mut self,
        head: &str,
        key: &str,
        keys: Vec<T>,
        fill: impl Fn(&mut Values, T),
    ) -> Result<(), sqlx::Error> {
        self.each_chunk(head, key, ")", keys, fill).await
    }

    async fn each_chunk<T>(
        &mut self,
        head: &str,
        row: &str,
        tail: &str,
        rows: Vec<T>,
        fill: impl Fn(&mut Values, T),
    ) -> Result<(), sqlx::Error> {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        while left > 0 {
            let size = if left >= ROWS_MAX { ROWS_MAX } else { 1 << left.ilog2() };
            left -= size;
            let text = format!("{head} {}{tail}", vec![row; size].join(", "));
            let some = rows.by_ref().take(size);
            self.statement(&text, |values| some.for_each(|row| fill(values, row))).await?;
        }
        Ok(())
    }
}
