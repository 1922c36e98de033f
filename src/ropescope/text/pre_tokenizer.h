// Cutting a text into the words that are merged separately.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ropescope/text/regex.h"

namespace ropescope {

/// The patterns that model families share.
extern const char* const kGpt2Pattern;
extern const char* const kQwen2Pattern;
extern const char* const kQwen35Pattern;
extern const char* const kLlama3Pattern;

/// What becomes of the matches of a split; names and meanings as in Hugging Face tokenizers.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Cuts every piece that the step before left.
struct SplitStep {
  std::shared_ptr<const Regex> pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  ///< the matches are what lies between those of the pattern
};

/// Writes spaces as `sign`, and cuts before each.
struct MetaspaceStep {
  /// Which pieces that do not begin with one get a sign in front.
  enum class Prefix { kNever, kFirst, kAlways };
  std::string sign;
  Prefix prefix = Prefix::kAlways;
  bool split = true;
};

using PreTokenizerStep = std::variant<SplitStep, MetaspaceStep>;

/// Pieces as byte ranges of a text; reusable, one for each thread.
struct PreTokenizerScratch {
  using Piece = std::pair<size_t, size_t>;  ///< begin, end
  std::vector<Piece> pieces;
  std::vector<Piece> cut;
  std::vector<std::pair<Piece, bool>> matches;  ///< covers a piece; true where the pattern matched
  RegexScratch regex;
  std::string prefixed;
  std::string texts[2];  ///< where steps rewrite the text
};

/// Immutable once built.
class PreTokenizer {
 public:
  std::vector<PreTokenizerStep> steps;
  bool add_prefix_space = false;              ///< each piece that does not start with a space gets one
  std::shared_ptr<const Regex> word_pattern;  ///< applied after that; may be empty

  /// Calls visit(word) for each word of `text` (valid UTF-8) in order. `at_start`: nothing stands before it.
  template <typename Visit>
  void split(std::string_view text, bool at_start, PreTokenizerScratch& scratch, const Visit& visit) const {
    text = cut_pieces(text, at_start, scratch);
    for (const auto& [begin, end] : scratch.pieces) {
      std::string_view piece = text.substr(begin, end - begin);
      if (add_prefix_space && piece.front() != ' ') {
        scratch.prefixed.assign(1, ' ').append(piece);
        piece = scratch.prefixed;
      }
      if (word_pattern == nullptr) {
        visit(piece);
        continue;
      }
      size_t done = 0;
      size_t from = 0;
      size_t match_begin = 0;
      size_t match_end = 0;
      while (from < piece.size() && word_pattern->find(piece, from, scratch.regex, match_begin, match_end)) {
        from = match_end;
        if (match_begin == match_end) {
          // An empty match separates nothing that a word could be.
          from = next_character(piece, match_end);
          continue;
        }
        if (match_begin > done) visit(piece.substr(done, match_begin - done));
        visit(piece.substr(match_begin, match_end - match_begin));
        done = match_end;
      }
      if (done < piece.size()) visit(piece.substr(done));
    }
  }

 private:
  static size_t next_character(std::string_view text, size_t at);
  /// Fills scratch.pieces; they are ranges of what it returns.
  std::string_view cut_pieces(std::string_view text, bool at_start, PreTokenizerScratch& scratch) const;
};

}  // namespace ropescope
