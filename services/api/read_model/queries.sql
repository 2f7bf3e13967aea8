-- Every statement by its name: `-- name: NAME`, up to the next one. `{schema}` as in schema.sql.

-- name: checkpoint
SELECT position, created, version, mark FROM {schema}.checkpoint

-- These two name only columns that every version has.
-- name: version
SELECT version FROM {schema}.checkpoint

-- name: reached
SELECT position, created FROM {schema}.checkpoint

-- name: begin
INSERT INTO {schema}.checkpoint (position, created, version) VALUES (0, $1, $2) ON CONFLICT DO NOTHING

-- The compare-and-set that makes a zombie projector fail: it moves only from where this one read it.
-- name: advance
UPDATE {schema}.checkpoint SET position = $2, mark = $4 WHERE position = $1 AND created = $3

-- name: mark
UPDATE {schema}.checkpoint SET mark = $1

-- name: chat-created
INSERT INTO {schema}.chats
    (id, owner, title, titled, model, system, metadata, archived, hash,
     created, sequence, created_at, active_at, active)
VALUES ($1, $2, $3, $3::text IS NOT NULL, $4, $5, $6, false, $7, $8, $8, $9, $9, $8)
ON CONFLICT (id) DO NOTHING

-- Once for each chat of a batch. $3 and $4: the chat's last activity in the batch, or null.
-- name: touch
UPDATE {schema}.chats
SET sequence = greatest(sequence, $2), active = coalesce($3, active), active_at = coalesce($4, active_at)
WHERE id = $1

-- A chat that is not there was deleted, and what came before its tombstone is folded once more.
-- name: message-requested
INSERT INTO {schema}.messages
    (id, chat, parent, role, content, text, reasoning, tool_calls, model, params, metadata, hash,
     status, imported, sequence, created_at)
SELECT $1, $2, $3, 'user', $4, $5, '', '[]', NULL, '{{}}', $6, $7, 'completed', $8, $9, $10
FROM {schema}.chats WHERE id = $2
ON CONFLICT (id) DO NOTHING

-- name: answer-requested
INSERT INTO {schema}.messages
    (id, chat, parent, role, content, text, reasoning, tool_calls, model, params, metadata, hash,
     status, imported, sequence, created_at)
SELECT $1, $2, $3, 'assistant', '[]', '', '', '[]', $4, $5, $6, $7, 'running', $8, $9, $10
FROM {schema}.chats WHERE id = $2
ON CONFLICT (id) DO NOTHING

-- name: cancel-requested
UPDATE {schema}.messages SET cancelling = true WHERE id = $1

-- name: answer-ended
UPDATE {schema}.messages
SET status = $2, text = $3, reasoning = $4, tool_calls = $5, model = $6, finish_reason = $7, usage = $8,
    error = $9, spans = $10, left_out = $11, attempt = $12, last_index = $13, ended = $14, ended_at = $15
WHERE id = $1 AND ended IS NULL

-- name: title-generated
UPDATE {schema}.chats SET title = $2 WHERE id = $1 AND NOT titled

-- name: chat-renamed
UPDATE {schema}.chats SET title = $2, titled = true WHERE id = $1

-- name: chat-archived
UPDATE {schema}.chats SET archived = $2 WHERE id = $1

-- name: chat-metadata-changed
UPDATE {schema}.chats SET metadata = $2 WHERE id = $1

-- name: chat-deleted
DELETE FROM {schema}.chats WHERE id = $1

-- name: chat
SELECT * FROM {schema}.chats WHERE id = $1

-- name: messages
SELECT * FROM {schema}.messages WHERE chat = $1 ORDER BY sequence, role DESC

-- name: nodes
SELECT id, parent, role, hash, model, status, cancelling, imported, sequence, ended
FROM {schema}.messages WHERE chat = $1 ORDER BY sequence, role DESC

-- name: chats
SELECT c.*, EXISTS (
    SELECT FROM {schema}.messages m WHERE m.chat = c.id AND m.status = 'running'
) AS generating
FROM {schema}.chats c
WHERE c.owner = $1 AND c.archived = $2 AND ($3::bigint IS NULL OR c.active < $3)
ORDER BY c.active DESC
LIMIT $4

-- $5: the words, as a tsquery that takes them as prefixes; $6: the whole text, as a LIKE pattern.
-- name: search
SELECT c.*, EXISTS (
    SELECT FROM {schema}.messages m WHERE m.chat = c.id AND m.status = 'running'
) AS generating
FROM {schema}.chats c
WHERE c.owner = $1 AND c.archived = $2 AND ($3::bigint IS NULL OR c.active < $3)
    AND (
        c.title ILIKE $6
        OR c.id IN (
            SELECT m.chat FROM {schema}.messages m WHERE left(m.text, 100000) ILIKE $6
            UNION ALL
            SELECT m.chat FROM {schema}.messages m
            WHERE $5 <> '' AND to_tsvector('simple', left(m.text, 100000)) @@ to_tsquery('simple', $5)
        )
    )
ORDER BY c.active DESC
LIMIT $4

-- name: orphans
SELECT m.id, m.chat, m.parent, m.model, m.sequence, m.imported, c.owner
FROM {schema}.messages m JOIN {schema}.chats c ON c.id = m.chat
WHERE m.status = 'running' AND m.sequence <= $1
ORDER BY m.sequence
LIMIT $2
