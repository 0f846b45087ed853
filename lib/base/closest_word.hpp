// Finds the closest match for a misspelt word: "did you mean 'serve'?". Pure; the caller supplies
// the valid words.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace xenpv {

/// Returns the candidate with the fewest errors (missing, extra, wrong or transposed letters);
/// among equals, the first one. Accepts at most one error for every three letters of the longer
/// word, and at least one letter must be right. Returns nullopt if no candidate is similar.
[[nodiscard]] std::optional<std::string_view> closest_word(
    std::string_view word, std::span<const std::string_view> candidates);

/// Returns "; did you mean 'serve'?", or an empty text if no candidate is similar.
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       std::span<const std::string_view> candidates);

}  // namespace xenpv
