# Prepares a header for Doxygen. Keeps the line numbers, so that warnings name the right lines.

FNR == 1 {
  path = FILENAME
  sub(/^.*include\//, "", path)
  name = path
  gsub(/^.*\/|\.hpp$/, "", name)
  at_top = 1
}

# The comment at the top describes the header. It also describes the class that the header is named
# after, unless a comment precedes that class.
/^#pragma once/ { at_top = 0; next }
at_top && FNR == 1 { print "/// \\file" }
at_top { sub(/^\/\//, "///") }
$0 ~ "^(class|struct) " name " .*[{]$" && previous !~ /^\/\/\// { $0 = "/** \\copydoc " path " */ " $0 }
{ previous = $0 }

# Members that need no description.
/^  [a-z_]+\([a-z_]+&&( other)?\) noexcept( = default)?;$/ { $0 = "" }
/^  [a-z_]+& operator=\([a-z_]+&&( other)?\) noexcept( = default)?;$/ { $0 = "" }
/^  friend bool operator==\(.*\) = default;$/ { $0 = "" }
/^  std::uint[0-9]+_t pad[0-9]*(\[[0-9]+\])?;$/ { $0 = "" }
/^  using executor_type = / { $0 = $0 "  ///< The executor type that Asio expects of an I/O object." }
{ print }
