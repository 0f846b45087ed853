// Leak suppressions for programs in a domain that is saved and restored.
#ifdef __SANITIZE_ADDRESS__
/// A handle that was opened before a resume stays open on purpose (xen/custodian.hpp).
extern "C" const char* __lsan_default_suppressions();   // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "leak:xenpv::xen::event_channel_handle::open\n";
}
#endif
