-- Everything of the first release. Times are microseconds since the Unix epoch, of the database's clock unless said otherwise.

-- A replica's life: runs and buckets point at it. Once dead_at is set it stays dead, and what points at it is free.
CREATE TABLE leases (
    id         uuid   PRIMARY KEY,
    began_at   bigint NOT NULL,
    expires_at bigint NOT NULL,
    dead_at    bigint
);

-- Every run is in one of these; a replica looks for due runs in those that it holds, so that no two look for the same ones.
CREATE TABLE buckets (
    number smallint PRIMARY KEY,
    owner  uuid
);

-- Names and versions that runs have or had, so that runs and their indexes carry a small number instead.
CREATE TABLE workflows (
    id      integer PRIMARY KEY,
    name    text    NOT NULL,
    version integer NOT NULL,
    UNIQUE (name, version)
);

-- Runs that have not ended. No index has a column that an append writes which keeps the run's state, so that it changes one
-- row in place.
CREATE TABLE live (
    id                uuid     PRIMARY KEY,
    workflow          integer  NOT NULL,
    bucket            smallint NOT NULL,
    state             smallint NOT NULL,
    -- The lease that holds the run; none where no one does.
    owner             uuid,
    -- When the run was last changed by somebody else than its owner, who looks for this.
    rung_at           bigint   NOT NULL,
    -- When a claim may take the run; none while it is held, and where only a command moves it.
    due_at            bigint,
    epoch             bigint   NOT NULL,
    sequence          bigint   NOT NULL,
    control           bigint   NOT NULL,
    messages          bigint   NOT NULL,
    steps             integer  NOT NULL,
    created_at        bigint   NOT NULL,
    updated_at        bigint   NOT NULL,
    deadline          bigint   NOT NULL,
    ended_at          bigint,
    wake_at           bigint,
    ending_as         smallint,
    reason            text     NOT NULL,
    error_code        integer,
    error_message     text,
    cancel_requested  text,
    schedule          text,
    nominal           bigint,
    tick_origin       smallint,
    tick_of           uuid,
    parent            uuid,
    awaits            text,
    paused_at         bigint,
    pause_reason      text,
    pause_stops_clock boolean,
    pinned            boolean  NOT NULL,
    -- Whether another replica asks for the run (1 once it has settled, 2 immediately), and how long no claim takes it.
    recall            smallint,
    recalled_until    bigint
) WITH (fillfactor = 50);
CREATE INDEX live_by_state ON live (workflow, state, id);
CREATE INDEX live_due ON live (bucket, due_at, workflow) WHERE due_at IS NOT NULL;
CREATE INDEX live_held ON live (owner, rung_at) WHERE owner IS NOT NULL;

-- Runs that have ended: the same columns. They are in no index that appends and claims use.
CREATE TABLE ended (
    id                uuid     PRIMARY KEY,
    workflow          integer  NOT NULL,
    bucket            smallint NOT NULL,
    state             smallint NOT NULL,
    owner             uuid,
    rung_at           bigint   NOT NULL,
    due_at            bigint,
    epoch             bigint   NOT NULL,
    sequence          bigint   NOT NULL,
    control           bigint   NOT NULL,
    messages          bigint   NOT NULL,
    steps             integer  NOT NULL,
    created_at        bigint   NOT NULL,
    updated_at        bigint   NOT NULL,
    deadline          bigint   NOT NULL,
    ended_at          bigint,
    wake_at           bigint,
    ending_as         smallint,
    reason            text     NOT NULL,
    error_code        integer,
    error_message     text,
    cancel_requested  text,
    schedule          text,
    nominal           bigint,
    tick_origin       smallint,
    tick_of           uuid,
    parent            uuid,
    awaits            text,
    paused_at         bigint,
    pause_reason      text,
    pause_stops_clock boolean,
    pinned            boolean  NOT NULL
);
CREATE INDEX ended_by_state ON ended (workflow, state, id);

CREATE TABLE journal (
    run      uuid   NOT NULL,
    sequence bigint NOT NULL,
    epoch    bigint NOT NULL,
    entry    bytea  NOT NULL,
    PRIMARY KEY (run, sequence)
);

-- Messages that no wait of their run has received.
CREATE TABLE inbox (
    run         uuid   NOT NULL,
    number      bigint NOT NULL,
    name        text   NOT NULL,
    payload     bytea  NOT NULL,
    received_at bigint NOT NULL,
    PRIMARY KEY (run, number)
);

-- Request ids outlive what they created.
CREATE TABLE requests (
    id         uuid   NOT NULL,
    method     text   NOT NULL,
    hash       bytea  NOT NULL,
    -- The run, schedule or backfill that it was about.
    of         uuid   NOT NULL,
    -- What a trigger came to.
    outcome    smallint,
    created_at bigint NOT NULL,
    PRIMARY KEY (id, method)
);
CREATE INDEX requests_by_age ON requests (created_at);

-- What was changed by whom and why. Numbers grow with time; rows outlive the runs they speak of.
CREATE TABLE audit (
    number   bigint PRIMARY KEY,
    at       bigint NOT NULL,
    caller   text   NOT NULL,
    action   text   NOT NULL,
    detail   text   NOT NULL,
    reason   text   NOT NULL,
    run      uuid   NOT NULL,
    workflow text   NOT NULL,
    request  uuid,
    schedule text
);
CREATE INDEX audit_by_run ON audit (run, number);
CREATE INDEX audit_by_schedule ON audit (schedule, number) WHERE schedule IS NOT NULL;

-- Runs that were removed although requests that name them are still remembered: what those requests are answered.
CREATE TABLE removed_runs (
    id         uuid     PRIMARY KEY,
    workflow   integer  NOT NULL,
    state      smallint NOT NULL,
    created_at bigint   NOT NULL,
    updated_at bigint   NOT NULL,
    ended_at   bigint,
    deadline   bigint   NOT NULL,
    epoch      bigint   NOT NULL,
    sequence   bigint   NOT NULL,
    control    bigint   NOT NULL,
    steps      integer  NOT NULL,
    parent     uuid,
    removed_at bigint   NOT NULL
);
CREATE INDEX removed_runs_by_age ON removed_runs (removed_at);

CREATE TABLE schedules (
    uid                  uuid     PRIMARY KEY,
    name                 text     NOT NULL UNIQUE,
    source               smallint NOT NULL,
    workflow             text     NOT NULL,
    -- An encoded orchestrator.journal.v1.Schedule.
    definition           bytea    NOT NULL,
    generation           bigint   NOT NULL,
    created_at           bigint   NOT NULL,
    updated_at           bigint   NOT NULL,
    -- Nominal time up to which everything was dealt with; it outlives the ledger.
    high_water           bigint   NOT NULL,
    -- Later nominal times, eight bytes each, that started runs before the clock was set back.
    ahead                bytea,
    paused_at            bigint,
    paused_by            text,
    pause_note           text,
    retired_at           bigint,
    rows                 bigint   NOT NULL DEFAULT 0,
    started              bigint   NOT NULL DEFAULT 0,
    missed               bigint   NOT NULL DEFAULT 0,
    last_missed          bigint,
    consecutive_skips    bigint   NOT NULL DEFAULT 0,
    consecutive_failures bigint   NOT NULL DEFAULT 0,
    last_run             uuid,
    last_nominal         bigint,
    lateness             bigint,
    last_success         bigint,
    last_success_nominal bigint,
    buffered             bigint   NOT NULL DEFAULT 0,
    problem              text     NOT NULL DEFAULT '',
    -- The last nominal time that started a run and whose row was dropped from the ledger.
    dropped              bigint
);

-- The ledger: a nominal time, or several in a row to which the same happened.
CREATE TABLE ticks (
    schedule uuid     NOT NULL,
    number   bigint   NOT NULL,
    first    bigint   NOT NULL,
    last     bigint   NOT NULL,
    count    bigint   NOT NULL,
    outcome  smallint NOT NULL,
    reason   text     NOT NULL,
    -- 0 for the schedule's own times, 1 for a trigger, 2 for a backfill, and the id of those.
    origin   smallint NOT NULL,
    of       uuid,
    run      uuid,
    at       bigint   NOT NULL,
    PRIMARY KEY (schedule, number)
);

-- Runs of schedules that were not seen to have ended.
CREATE TABLE schedule_runs (
    schedule uuid    NOT NULL,
    run      uuid    NOT NULL,
    nominal  bigint  NOT NULL,
    -- The backfill that it is of.
    backfill uuid,
    -- Whether it waits for the end of the others.
    behind   boolean NOT NULL,
    PRIMARY KEY (schedule, run)
);

CREATE TABLE backfills (
    id         uuid    PRIMARY KEY,
    -- Nil once its schedule was removed.
    schedule   uuid    NOT NULL,
    from_time  bigint  NOT NULL,
    until_time bigint  NOT NULL,
    at_once    bigint  NOT NULL,
    per_minute bigint  NOT NULL,
    total      bigint  NOT NULL,
    created_at bigint  NOT NULL,
    cursor     bigint  NOT NULL,
    started    bigint  NOT NULL,
    passed     bigint  NOT NULL,
    ended_at   bigint,
    cancelled  boolean NOT NULL,
    last_start bigint,
    -- The definition whose times it has, without its input.
    definition bytea
);
CREATE INDEX backfills_by_schedule ON backfills (schedule, created_at);

-- Schedules that were removed although requests that name them are still remembered.
CREATE TABLE removed_schedules (
    uid        uuid     PRIMARY KEY,
    name       text     NOT NULL,
    source     smallint NOT NULL,
    definition bytea    NOT NULL,
    generation bigint   NOT NULL,
    created_at bigint   NOT NULL,
    updated_at bigint   NOT NULL,
    high_water bigint   NOT NULL,
    removed_at bigint   NOT NULL
);
CREATE INDEX removed_schedules_by_name ON removed_schedules (name, removed_at);
