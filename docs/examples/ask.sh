#!/bin/sh
# Asks a question, or continues an answer: `sh ask.sh URL [ANSWER [CURSOR]]`. Prints the events as they come.
set -eu

url=$1 answer=${2:-} cursor=${3:-}
if [ -z "$answer" ]; then
    chat=$(cat /proc/sys/kernel/random/uuid)
    curl -sS --fail-with-body "$url/v1/chats" --json "{\"id\": \"$chat\"}" > /dev/null
    answer=$(curl -sS --fail-with-body "$url/v1/chats/$chat/messages" --json '{"content": "What outlives a process?"}' |
        sed 's/.*"answer":"\([^"]*\)".*/\1/')
fi
echo "answer $answer" >&2
# -N: print each event at once. With a cursor, the stream continues after that event.
curl -sSN --fail-with-body "$url/v1/answers/$answer/stream" ${cursor:+-H "last-event-id: $cursor"}
