// Finds the word that a misspelt one probably stands for: "did you mean 'serve'?". Pure; does not
// know what the words are.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace xenpv {

/// Returns the candidate with the fewest errors (a letter that is missing, superfluous, wrong or
/// exchanged with its neighbour), the first one if several have as few. At most one error is
/// accepted for each three letters of the longer word, and at least one letter must be right.
/// nullopt: no candidate is similar.
[[nodiscard]] std::optional<std::string_view> closest_word(
    std::string_view word, std::span<const std::string_view> candidates);

/// Returns "; did you mean 'serve'?", or an empty text if no candidate is similar.
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       std::span<const std::string_view> candidates);

}  // namespace xenpv
