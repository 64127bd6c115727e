complete -c fence_xvm -s i -l ip_family -d 'The IP family: ipv4, ipv6, or auto: that of the multicast address, else ipv4.' -r -f -a "auto\t''
ipv4\t''
ipv6\t''"
complete -c fence_xvm -s a -l multicast_address -d 'The multicast group that the hosts listen to; without it 225.0.0.12 or ff05::3:1.' -r -f
complete -c fence_xvm -s I -l interface -d 'Ask out of this network interface only; without it, out of all that are up.' -r -f
complete -c fence_xvm -s p -l ipport -d 'The port of multicast and of the call-back, or of TCP, VM channel or vsock.' -r -f
complete -c fence_xvm -s r -l retrans -d 'Tenths of a second between two requests.' -r -f
complete -c fence_xvm -s C -l auth -d 'How host and agent prove themselves: none, sha1, sha256 or sha512, as on the host.' -r -f -a "none\t''
sha1\t''
sha256\t''
sha512\t''"
complete -c fence_xvm -s c -l hash -d 'How requests are signed: none, sha1, sha256 or sha512, at least as on the host.' -r -f -a "none\t''
sha1\t''
sha256\t''
sha512\t''"
complete -c fence_xvm -s k -l key_file -d 'The file with the key that is shared with the hosts.' -r -F
complete -c fence_xvm -s n -l plug -d 'The virtual machine to fence: its libvirt domain name or UUID.' -r -f
complete -c fence_xvm -s H -l port -d 'The virtual machine to fence; plug is its name today.' -r -f
complete -c fence_xvm -l domain -d 'The virtual machine to fence; plug is its name today.' -r -f
complete -c fence_xvm -s o -l action -d 'What to do: null, off, on, reboot, status, list, list-status, monitor, validate-all or metadata.' -r -f -a "null\t''
on\t''
off\t''
reboot\t''
metadata\t''
status\t''
monitor\t''
list\t''
list-status\t''
validate-all\t''"
complete -c fence_xvm -s t -l timeout -d 'Seconds until the agent gives up, everything included but the delay.' -r -f
complete -c fence_xvm -s w -l delay -d 'Seconds to wait before off, on and reboot.' -r -f
complete -c fence_xvm -l separator -d 'Put this between the fields of a list, as fence-agents do: name, UUID, and with list-status ON or OFF. Without it the list has the form of the original.' -r -f
complete -c fence_xvm -s d -l debug -d 'Say on stderr what is done; more often, more of it. On stdin: a level.'
complete -c fence_xvm -s u -l use_uuid -d 'Mark the domain as a UUID. Hosts go by its form; only very old ones need the mark.'
complete -c fence_xvm -l check -d 'Look for what would keep this guest from fencing, and ask every host; fences nothing.'
complete -c fence_xvm -l json -d 'With --check: print JSON.'
complete -c fence_xvm -s h -l help -d 'Show this help.'
complete -c fence_xvm -s V -l version -d 'Show the version.'
