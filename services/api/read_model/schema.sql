-- The read models. They hold nothing that the log does not: drop the schema, and it is filled again.
-- `{schema}` is replaced by the schema's name, so that a rebuild can fill a second one beside it.
-- A change of this file is a new number in `projector.SCHEMA_VERSION`: the projector then rebuilds by itself.

CREATE TABLE {schema}.checkpoint (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint NOT NULL,       -- CHATS is folded up to here
    created  text   NOT NULL,       -- the incarnation of CHATS that was folded
    version  integer NOT NULL,      -- of this schema
    mark     text NOT NULL DEFAULT '' -- of the fact at `position`: tells it from another that got its sequence
);

CREATE TABLE {schema}.chats (
    id         text COLLATE "C" PRIMARY KEY,
    owner      text NOT NULL,
    title      text,
    titled     boolean NOT NULL,    -- by a person
    model      text,
    system     text,
    metadata   jsonb NOT NULL,
    archived   boolean NOT NULL,
    hash       text NOT NULL,
    created    bigint NOT NULL,     -- sequence of the first fact
    sequence   bigint NOT NULL,     -- sequence of the newest fact
    created_at timestamptz NOT NULL,
    active_at  timestamptz NOT NULL,
    active     bigint NOT NULL      -- sequence of the newest activity: the order of lists
);
CREATE INDEX chats_by_activity ON {schema}.chats (owner, archived, active DESC);

-- Users' messages and answers are nodes of one tree.
CREATE TABLE {schema}.messages (
    id            text COLLATE "C" PRIMARY KEY,
    chat          text COLLATE "C" NOT NULL REFERENCES {schema}.chats ON DELETE CASCADE,
    parent        text COLLATE "C",
    role          text NOT NULL,    -- user, assistant
    content       jsonb NOT NULL,   -- typed parts, of a user's message
    text          text NOT NULL,
    reasoning     text NOT NULL,
    tool_calls    jsonb NOT NULL,
    model         text,
    params        jsonb NOT NULL,
    metadata      jsonb NOT NULL,
    hash          text NOT NULL,
    status        text NOT NULL,    -- of an answer: running, completed, failed, cancelled
    cancelling    boolean NOT NULL DEFAULT false,
    finish_reason text,
    usage         jsonb,
    error         jsonb,
    spans         jsonb,
    left_out      integer NOT NULL DEFAULT 0,
    attempt       integer,
    last_index    integer,
    imported      boolean NOT NULL DEFAULT false,
    sequence      bigint NOT NULL,  -- of the request
    ended         bigint,           -- of the terminal fact
    created_at    timestamptz NOT NULL,
    ended_at      timestamptz
);
CREATE INDEX messages_by_chat ON {schema}.messages (chat, sequence);
-- Search: words in any language that has spaces, and trigrams for those that have none. A text's beginning is
-- enough to find it by, and a tsvector has a limit of 1 MB.
CREATE INDEX messages_words ON {schema}.messages USING gin (to_tsvector('simple', left(text, 100000)));
CREATE INDEX messages_trigrams ON {schema}.messages USING gin (left(text, 100000) public.gin_trgm_ops);
CREATE INDEX titles_trigrams ON {schema}.chats USING gin (title public.gin_trgm_ops);
CREATE INDEX messages_running ON {schema}.messages (chat) WHERE status = 'running';
