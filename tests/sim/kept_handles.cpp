// For programs whose domain is saved and restored: what AddressSanitizer must not take for a leak.
#ifdef __SANITIZE_ADDRESS__
/// A handle from before a resume is never closed (xen/custodian.hpp): it stays, and is no leak.
extern "C" const char* __lsan_default_suppressions();   // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "leak:xenpv::xen::event_channel_handle::open\n";
}
#endif
