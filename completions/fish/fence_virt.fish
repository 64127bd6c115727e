complete -c fence_virt -s D -l serial_device -d 'Ask over this serial device, which must lead to the host, as /dev/ttyS1 may.' -r -F
complete -c fence_virt -s P -l serial_params -d 'Speed, data bits, parity and stop bits of the serial device, or its speed alone.' -r -f
complete -c fence_virt -s A -l channel_address -d 'The IP address of the VM channel, which is used if no other way is named.' -r -f
complete -c fence_virt -s p -l ipport -d 'The port of multicast and of the call-back, or of TCP, VM channel or vsock.' -r -f
complete -c fence_virt -s T -l ipaddr -d 'Use TCP and connect to this IP address.' -r -f
complete -c fence_virt -s S -l vsock -d 'Use vsock and connect to this CID, attached to the letter; 2 is the host.' -r
complete -c fence_virt -s C -l auth -d 'How host and agent prove themselves: none, sha1, sha256 or sha512, as on the host.' -r -f -a "none\t''
sha1\t''
sha256\t''
sha512\t''"
complete -c fence_virt -s c -l hash -d 'How requests are signed: none, sha1, sha256 or sha512, at least as on the host.' -r -f -a "none\t''
sha1\t''
sha256\t''
sha512\t''"
complete -c fence_virt -s k -l key_file -d 'The file with the key that is shared with the hosts.' -r -F
complete -c fence_virt -s n -l plug -d 'The virtual machine to fence: its libvirt domain name or UUID.' -r -f
complete -c fence_virt -s H -l port -d 'The virtual machine to fence; plug is its name today.' -r -f
complete -c fence_virt -l domain -d 'The virtual machine to fence; plug is its name today.' -r -f
complete -c fence_virt -s o -l action -d 'What to do: null, off, on, reboot, status, list, list-status, monitor, validate-all or metadata.' -r -f -a "null\t''
on\t''
off\t''
reboot\t''
metadata\t''
status\t''
monitor\t''
list\t''
list-status\t''
validate-all\t''"
complete -c fence_virt -s t -l timeout -d 'Seconds until the agent gives up, everything included but the delay.' -r -f
complete -c fence_virt -s w -l delay -d 'Seconds to wait before off, on and reboot.' -r -f
complete -c fence_virt -l separator -d 'Put this between the fields of a list, as fence-agents do: name, UUID, and with list-status ON or OFF. Without it the list has the form of the original.' -r -f
complete -c fence_virt -s d -l debug -d 'Say on stderr what is done; more often, more of it. On stdin: a level.'
complete -c fence_virt -l check -d 'Look for what would keep this guest from fencing, and ask every host; fences nothing.'
complete -c fence_virt -l json -d 'With --check: print JSON.'
complete -c fence_virt -s h -l help -d 'Show this help.'
complete -c fence_virt -s V -l version -d 'Show the version.'
