#!/bin/sh
# A fence agent for pacemaker: asks the lab to cut a host's power, and waits until it has.
set -eu
requests=@REQUESTS@
action=reboot
port=
while IFS='=' read -r name value; do
    case $name in
        action) action=$value ;;
        port | plug) port=$value ;;
    esac
done
case $action in
    metadata)
        cat <<XML
<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="the lab's power">
  <longdesc>Cuts the power of a host of the lab.</longdesc>
  <parameters>
    <parameter name="action" unique="0" required="1">
      <content type="string" default="reboot"/><shortdesc lang="en">action</shortdesc>
    </parameter>
    <parameter name="port" unique="0" required="0">
      <content type="string"/><shortdesc lang="en">the host</shortdesc>
    </parameter>
  </parameters>
  <actions>
    <action name="off"/><action name="on"/><action name="reboot"/><action name="monitor"/><action name="metadata"/>
  </actions>
</resource-agent>
XML
        ;;
    off | reboot)
        : >"$requests/$port"
        # Pacemaker ends this when its own patience is over.
        while [ ! -e "$requests/$port.done" ]; do sleep 0.1; done
        ;;
esac
exit 0
