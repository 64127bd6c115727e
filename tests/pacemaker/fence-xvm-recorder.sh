#!/bin/sh
# Stands where pacemaker looks for the agent, and writes down what each of them tells the other. What the
# agent is told, says and ends with passes through unchanged.
call=/var/log/pacemaker/calls/$(date +%s.%N).$$
tee "$call.in" | /etc/cluster/agent/fence_xvm "$@" >"$call.out" 2>"$call.err"
code=$?
cat "$call.out"
cat "$call.err" >&2
echo "$code" >"$call.code"
exit "$code"
