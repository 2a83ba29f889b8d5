namespace Vmsweep.Appliance.Results.Store;

/// <summary>The tables, in SQLite's words; <see cref="Postgres.PostgresDatabase"/> has other names for the types.</summary>
internal static class Schema
{
    /// <summary>Each brings the schema from the version before to its own; the database counts those that were made. Never change one, only add.</summary>
    public static readonly string[] Migrations =
    [
        """
        CREATE TABLE basis (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            scope INTEGER NOT NULL,
            context BLOB NOT NULL,
            digest BLOB NOT NULL,
            rules BLOB NOT NULL,
            used INTEGER NOT NULL,
            verdicts INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0,
            UNIQUE (scope, context, digest));
        CREATE TABLE verdict (
            scope INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            size INTEGER NOT NULL,
            basis INTEGER NOT NULL,
            used INTEGER NOT NULL,
            seal INTEGER NOT NULL,
            lists BLOB NOT NULL,
            payload BLOB NOT NULL,
            PRIMARY KEY (scope, sha256, size, basis)) WITHOUT ROWID;
        CREATE TABLE compiled (
            key BLOB PRIMARY KEY,
            base BLOB NOT NULL,
            program BLOB NOT NULL,
            sha256 BLOB NOT NULL,
            used INTEGER NOT NULL,
            event BLOB NOT NULL,
            decided BLOB NOT NULL) WITHOUT ROWID;
        """,
        """
        CREATE TABLE traced (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            vm TEXT NOT NULL,
            mark TEXT,
            context BLOB NOT NULL,
            key BLOB NOT NULL,
            at INTEGER NOT NULL,
            bytes INTEGER NOT NULL);
        CREATE INDEX traced_vm ON traced (vm);
        CREATE TABLE traced_part (
            scan INTEGER NOT NULL,
            number INTEGER NOT NULL,
            seal INTEGER NOT NULL,
            part BLOB NOT NULL,
            PRIMARY KEY (scan, number)) WITHOUT ROWID;
        """,
        // Results. Times are milliseconds since 1970, days are days since 1970, a sighting's last day is 0 as long as it holds.
        """
        CREATE TABLE machine (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            tenant TEXT NOT NULL,
            vm TEXT NOT NULL,
            snapshot TEXT NOT NULL,
            name TEXT NOT NULL,
            target TEXT NOT NULL,
            first_scan INTEGER NOT NULL,
            last_scan INTEGER NOT NULL,
            sightings INTEGER NOT NULL DEFAULT 0,
            left_out INTEGER NOT NULL DEFAULT 0,
            UNIQUE (tenant, vm, snapshot));
        CREATE TABLE scan (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            machine INTEGER NOT NULL,
            run TEXT,
            started INTEGER NOT NULL,
            finished INTEGER NOT NULL,
            verdict TEXT NOT NULL,
            engines TEXT NOT NULL,
            bundle TEXT NOT NULL);
        CREATE UNIQUE INDEX scan_run ON scan (run, machine) WHERE run IS NOT NULL;
        CREATE INDEX scan_finished ON scan (finished);
        CREATE TABLE coverage (
            machine INTEGER NOT NULL,
            day INTEGER NOT NULL,
            scans INTEGER NOT NULL,
            verdict TEXT NOT NULL,
            counts TEXT NOT NULL,
            reasons TEXT NOT NULL,
            PRIMARY KEY (machine, day)) WITHOUT ROWID;
        CREATE INDEX coverage_day ON coverage (day);
        CREATE TABLE finding (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            machine INTEGER NOT NULL,
            identity BLOB NOT NULL,
            state TEXT NOT NULL,
            severity INTEGER NOT NULL,
            engine TEXT NOT NULL,
            namespace TEXT NOT NULL,
            rule TEXT NOT NULL,
            path TEXT NOT NULL,
            inside TEXT NOT NULL,
            size INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            first_seen INTEGER NOT NULL,
            last_seen INTEGER NOT NULL,
            changed INTEGER NOT NULL,
            scans INTEGER NOT NULL,
            signatures TEXT NOT NULL,
            detail TEXT,
            report TEXT NOT NULL,
            UNIQUE (machine, identity));
        CREATE INDEX finding_rule ON finding (rule);
        CREATE INDEX finding_state ON finding (state, changed);
        CREATE TABLE finding_event (
            finding INTEGER NOT NULL,
            scan INTEGER NOT NULL,
            kind TEXT NOT NULL,
            sha256 BLOB,
            PRIMARY KEY (finding, scan)) WITHOUT ROWID;
        CREATE INDEX finding_event_scan ON finding_event (scan);
        CREATE INDEX finding_event_sha256 ON finding_event (sha256) WHERE sha256 IS NOT NULL;
        CREATE TABLE place (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            prefix INTEGER NOT NULL,
            digest INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            size INTEGER NOT NULL,
            path TEXT NOT NULL);
        CREATE UNIQUE INDEX place_key ON place (prefix, digest);
        CREATE TABLE sighting (
            machine INTEGER NOT NULL,
            block INTEGER NOT NULL,
            first INTEGER NOT NULL,
            last INTEGER NOT NULL,
            places BLOB NOT NULL,
            PRIMARY KEY (machine, block, first, last)) WITHOUT ROWID;
        CREATE INDEX sighting_block ON sighting (block);
        CREATE TABLE sweep_run (
            id TEXT PRIMARY KEY,
            sweep TEXT NOT NULL,
            started INTEGER NOT NULL,
            report BLOB NOT NULL) WITHOUT ROWID;
        CREATE INDEX sweep_run_started ON sweep_run (started, sweep);
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            who TEXT NOT NULL,
            act TEXT NOT NULL,
            subject TEXT NOT NULL,
            detail TEXT NOT NULL,
            seal BLOB NOT NULL);
        CREATE TABLE tally (
            name TEXT PRIMARY KEY,
            value INTEGER NOT NULL) WITHOUT ROWID;
        """,
        """
        CREATE TABLE sweep_plan (
            id TEXT PRIMARY KEY,
            sweep TEXT NOT NULL,
            begun INTEGER NOT NULL,
            ended INTEGER,
            state TEXT NOT NULL,
            detail TEXT,
            cancel INTEGER NOT NULL DEFAULT 0,
            held TEXT NOT NULL);
        CREATE INDEX sweep_plan_sweep ON sweep_plan (sweep, begun);
        CREATE TABLE sweep_planned (
            run TEXT NOT NULL,
            number INTEGER NOT NULL,
            key TEXT NOT NULL,
            state TEXT NOT NULL,
            report TEXT NOT NULL,
            PRIMARY KEY (run, number)) WITHOUT ROWID;
        CREATE TABLE sweep_scanned (
            key TEXT PRIMARY KEY,
            scanned INTEGER NOT NULL,
            whole INTEGER) WITHOUT ROWID;
        """,
        // Layers of chains that VMs share. State 0: some was read; 1: a scan over it came to its end; 2: it was not what it should be.
        """
        CREATE TABLE layer (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            scope INTEGER NOT NULL,
            identity BLOB NOT NULL,
            context BLOB NOT NULL,
            key BLOB NOT NULL,
            at INTEGER NOT NULL,
            used INTEGER NOT NULL,
            state INTEGER NOT NULL,
            bytes INTEGER NOT NULL);
        CREATE INDEX layer_identity ON layer (identity);
        CREATE TABLE layer_part (
            layer INTEGER NOT NULL,
            number INTEGER NOT NULL,
            seal INTEGER NOT NULL,
            part BLOB NOT NULL,
            PRIMARY KEY (layer, number)) WITHOUT ROWID;
        """,
        // Of runs that began at the same moment, which was the later one.
        """
        ALTER TABLE sweep_plan ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
        """,
        // Appliances that share a database, by process; times are the database's own. What one of them scans, with the token that its results must show.
        """
        CREATE TABLE node (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            process INTEGER NOT NULL,
            since INTEGER NOT NULL,
            seen INTEGER NOT NULL,
            run TEXT NOT NULL,
            idle INTEGER NOT NULL);
        CREATE TABLE sweep_claim (
            key TEXT PRIMARY KEY,
            token TEXT NOT NULL,
            node TEXT NOT NULL,
            sweep TEXT NOT NULL,
            run TEXT NOT NULL,
            number INTEGER NOT NULL,
            name TEXT NOT NULL,
            share TEXT NOT NULL);
        CREATE INDEX sweep_claim_node ON sweep_claim (node);
        CREATE TABLE lease (
            id TEXT PRIMARY KEY,
            node TEXT NOT NULL,
            home TEXT NOT NULL,
            local INTEGER NOT NULL,
            record TEXT NOT NULL);
        """,
        // What a node that has nothing else to do leaves to the others.
        """
        ALTER TABLE node ADD COLUMN leaves TEXT NOT NULL DEFAULT '[]';
        """,
    ];
}
