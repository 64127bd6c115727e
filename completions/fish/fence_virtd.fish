complete -c fence_virtd -s f -l config -d 'Read this configuration file' -r -F
complete -c fence_virtd -s d -l debug -d 'Debug level: 0 info, 1 to 9 debug, 10 to 99 trace; or a filter: info,libvirt=debug' -r -f
complete -c fence_virtd -s p -l pid-file -d 'Record the process id in this file' -r -F
complete -c fence_virtd -s F -l foreground -d 'Stay in the foreground and log to standard error'
complete -c fence_virtd -s c -l configure -d 'Configure interactively'
complete -c fence_virtd -s l -l list -d 'List the listeners and backends, and the listeners of the configuration'
complete -c fence_virtd -s w -l wait -d 'Wait for interfaces, addresses and hypervisors that are not there'
complete -c fence_virtd -l test-config -d 'Check the configuration file and its keys; 0 usable, 2 not'
complete -c fence_virtd -s V -l version -d 'Print the version'
complete -c fence_virtd -l check -d 'Look for what would make fencing fail; exit code 0 fine, 1 problems, 2 warnings only'
complete -c fence_virtd -l json -d 'With --check: print JSON'
complete -c fence_virtd -s h -l help -d 'Print help'
