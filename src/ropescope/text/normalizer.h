// What a tokenizer's file does to a text before it is cut into words.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ropescope/text/character_map.h"
#include "ropescope/text/regex.h"

namespace ropescope {

/// Unicode normalisation forms.
enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Every match becomes `content`.
struct ReplaceStep {
  std::string text;                      ///< looked for as it is
  std::shared_ptr<const Regex> pattern;  ///< or this, where there is one
  std::string content;
};

/// Put before a text that is not empty.
struct PrependStep {
  std::string text;
};

/// Takes white space away.
struct StripStep {
  bool left = true;
  bool right = true;
};

using NormalizerStep =
    std::variant<NormalForm, ReplaceStep, PrependStep, StripStep, std::shared_ptr<const CharacterMap>>;

/// Reusable, one for each thread.
struct NormalizerScratch {
  /// The text that normalize() gave begins later than the one it was given: a step took its start away.
  bool start_lost = false;
  std::string texts[2];
  RegexScratch regex;
};

/// Applies `steps` in order to valid UTF-8. Returns `text` itself, a part of it, or a view of `scratch`.
std::string_view normalize(std::string_view text, const std::vector<NormalizerStep>& steps,
                           NormalizerScratch& scratch);

struct Replaced {
  bool any = false;
  bool start_lost = false;  ///< the first match was at the start, and nothing stands in its place
};
/// Appends `text` with every match of the step replaced to `out`, or nothing if there is no match.
Replaced replace_matches(std::string_view text, const ReplaceStep& step, RegexScratch& scratch,
                         std::string& out);

}  // namespace ropescope
