// Selects the applet of the multi-call program from its command line. Pure: does not run anything.
// The caller (main.cpp) supplies the applets and parses the program's own options.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace xenpv::multi_call {

/// One of the programs in the multi-call program.
struct applet {
  std::string_view name;     ///< the program's name, which its link has: "xenpv-disk"
  std::string_view word;     ///< "disk" in `xenpv disk`; empty: only for internal use, not listed
  std::string_view summary;  ///< for --help
  int (*run)(int argc, char** argv);

  [[nodiscard]] constexpr bool is_listed() const noexcept { return !word.empty(); }
};

enum class outcome {
  applet,          ///< run `applet`, with the arguments from index `skipped` on
  own_options,     ///< the command line is for the multi-call program itself
  unknown_applet,  ///< `unknown` does not name an applet
};

struct selection {
  multi_call::outcome outcome = multi_call::outcome::own_options;
  const multi_call::applet* applet = nullptr;
  std::size_t skipped = 0;
  std::string_view unknown = {};
};

/// Returns the file name in `argv0`, without the '@' in front of the path or of the name. systemd
/// does not kill a program at shutdown whose argv[0] starts with '@', such as a storage daemon of
/// the initramfs.
[[nodiscard]] std::string_view program_name(std::string_view argv0) noexcept;

/// Selects by the name in argv[0], which may be a link's, or by the first argument, which may be an
/// applet's word or name. The name of the program file itself does not matter. The result refers to
/// both arguments.
[[nodiscard]] selection select_applet(std::span<const applet> applets,
                                      std::span<const char* const> arguments) noexcept;

/// Returns the names of the listed applets: "xenpv-disk, xenpv-doctor".
[[nodiscard]] std::string listed_names(std::span<const applet> applets);

}  // namespace xenpv::multi_call
