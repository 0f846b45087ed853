# The contract tests for Xen's C libraries (tests/contract). Guests have a peer in domain 0.
programs=(contract_tests)
places='dom0 pv pvh'
limit=400

dom0_during() { contract_tests --peer "$guest"; }

main() {
  if [[ $place != dom0 ]]; then export XENPV_CONTRACT_PEER=1; fi
  gtest contract_tests
}
