"""What the tables need of SQLite beyond `tables.metadata`: full text, and guards.

The full-text table is contentless FTS5: the texts stand once, in the pack, and
triggers keep the index in step, so that whoever writes or deletes a pack cannot
forget it. FTS5 must be told the old text when a row goes, which is why the claims'
text is always built from the row, in the same way. (External content over a view
was tried: SQLite 3.40 answers its `rebuild` with "SQL logic error".) There
is no stemming: packs may be in any language, and the vector arm carries paraphrase.
"""

from .ledger import CONTENT

_CLAIMS = (
    "coalesce((SELECT group_concat(json_extract(value, '$.text'), char(10))"
    " FROM json_each({row}.why)), '')"
)
_GUARDED = ("id", "rev", "digest", *CONTENT, "salt", "rights_key", "retain_until")

EXTRA_DDL = (
    """CREATE VIRTUAL TABLE IF NOT EXISTS xp_fts USING fts5(
        goal, situation, why, content='', tokenize='unicode61 remove_diacritics 2')""",
    "DROP TABLE IF EXISTS xp_fts_terms",
    "CREATE VIRTUAL TABLE IF NOT EXISTS xp_fts_places USING fts5vocab(xp_fts, instance)",
    f"""CREATE TRIGGER IF NOT EXISTS xp_pack_added AFTER INSERT ON xp_pack BEGIN
        INSERT INTO xp_fts (rowid, goal, situation, why)
        VALUES (new.row_id, new.goal, new.situation, {_CLAIMS.format(row="new")}); END""",
    f"""CREATE TRIGGER IF NOT EXISTS xp_pack_removed AFTER DELETE ON xp_pack BEGIN
        INSERT INTO xp_fts (xp_fts, rowid, goal, situation, why) VALUES
        ('delete', old.row_id, old.goal, old.situation, {_CLAIMS.format(row="old")});
        DELETE FROM xp_vector WHERE pack_row = old.row_id;
        DELETE FROM xp_outbox WHERE pack_row = old.row_id; END""",
    # Made anew each time, since a later version may guard more columns.
    "DROP TRIGGER IF EXISTS xp_pack_immutable",
    f"""CREATE TRIGGER IF NOT EXISTS xp_pack_immutable
        BEFORE UPDATE OF {", ".join(_GUARDED)} ON xp_pack
        BEGIN SELECT RAISE(ABORT, 'a revision of a pack is immutable'); END""",
    """CREATE TRIGGER IF NOT EXISTS xp_step_immutable BEFORE UPDATE ON xp_step
        BEGIN SELECT RAISE(ABORT, 'a recorded step is immutable'); END""",
    """CREATE TRIGGER IF NOT EXISTS xp_ledger_append_only BEFORE UPDATE ON xp_ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
)
# The same for PostgreSQL. What SQLite's own tables tell of the last number is in `xp_issued`,
# and the postings of `postings` stand for FTS5.
POSTGRES_DDL = (
    """CREATE TABLE IF NOT EXISTS xp_posting (word TEXT COLLATE "C" NOT NULL,
        pack_row BIGINT NOT NULL, frequency DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (word, pack_row) INCLUDE (frequency))""",
    "CREATE INDEX IF NOT EXISTS xp_posting_pack ON xp_posting (pack_row)",
    "CREATE TABLE IF NOT EXISTS xp_text (pack_row BIGINT PRIMARY KEY, words BIGINT NOT NULL)",
    'CREATE TABLE IF NOT EXISTS xp_issued (name TEXT COLLATE "C" PRIMARY KEY, seq BIGINT NOT NULL)',
    """CREATE OR REPLACE FUNCTION xp_refused() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
        END $$""",
    """CREATE OR REPLACE FUNCTION xp_pack_gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        DELETE FROM xp_posting WHERE pack_row = OLD.row_id;
        DELETE FROM xp_text WHERE pack_row = OLD.row_id;
        DELETE FROM xp_vector WHERE pack_row = OLD.row_id;
        DELETE FROM xp_outbox WHERE pack_row = OLD.row_id;
        RETURN NULL; END $$""",
    """CREATE OR REPLACE FUNCTION xp_ledger_issued() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO xp_issued VALUES ('xp_ledger', NEW.seq)
        ON CONFLICT (name) DO UPDATE SET seq = greatest(xp_issued.seq, excluded.seq);
        RETURN NULL; END $$""",
    """CREATE OR REPLACE TRIGGER xp_pack_removed AFTER DELETE ON xp_pack
        FOR EACH ROW EXECUTE FUNCTION xp_pack_gone()""",
    f"""CREATE OR REPLACE TRIGGER xp_pack_immutable
        BEFORE UPDATE OF {", ".join(_GUARDED)} ON xp_pack
        FOR EACH ROW EXECUTE FUNCTION xp_refused('a revision of a pack is immutable')""",
    """CREATE OR REPLACE TRIGGER xp_step_immutable BEFORE UPDATE ON xp_step
        FOR EACH ROW EXECUTE FUNCTION xp_refused('a recorded step is immutable')""",
    """CREATE OR REPLACE TRIGGER xp_ledger_append_only BEFORE UPDATE ON xp_ledger
        FOR EACH ROW EXECUTE FUNCTION xp_refused('the ledger is append-only')""",
    """CREATE OR REPLACE TRIGGER xp_ledger_numbered AFTER INSERT ON xp_ledger
        FOR EACH ROW EXECUTE FUNCTION xp_ledger_issued()""",
)
OPTIMIZE_TEXT = ("INSERT INTO xp_fts (xp_fts) VALUES ('optimize')",)

REBUILD_TEXT = (
    "INSERT INTO xp_fts (xp_fts) VALUES ('delete-all')",
    f"""INSERT INTO xp_fts (rowid, goal, situation, why)
        SELECT row_id, goal, situation, {_CLAIMS.format(row="xp_pack")} FROM xp_pack""",
)
