# All types of domains have the expected properties, and the programs run in them.
programs=(xenpv-sim xenpv-custodian)
places='dom0 pv pvh hvm'
short_places='dom0 hvm'
limit=60

dom0_during() {
  # The guest may take longer to boot than the server's timeout.
  hear ready
  xenpv-sim ping --serve --peer "$guest"
}

main() {
  value guest_type "$(cat /sys/hypervisor/guest_type)"
  value clocksource "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
  value cpus "$(nproc)"
  value devices "$(cd /dev/xen && echo *)"
  if [[ $place != dom0 ]]; then
    value root "$(blockdev --getro /dev/xvda)"
    tell ready yes
    check ping xenpv-sim ping --count 1000
  fi
}
