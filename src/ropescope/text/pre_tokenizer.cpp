#include "ropescope/text/pre_tokenizer.h"

namespace ropescope {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen35Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

using Piece = PreTokenizerScratch::Piece;

/// Fills scratch.matches with a gapless cover of `piece`.
void find_matches(std::string_view text, Piece piece, const SplitStep& step, PreTokenizerScratch& scratch,
                  size_t (*next_character)(std::string_view, size_t)) {
  auto& matches = scratch.matches;
  matches.clear();
  const std::string_view part = text.substr(piece.first, piece.second - piece.first);
  size_t done = 0;
  size_t from = 0;
  size_t begin = 0;
  size_t end = 0;
  while (from < part.size() && step.pattern->find(part, from, scratch.regex, begin, end)) {
    if (begin > done) matches.push_back({{piece.first + done, piece.first + begin}, step.invert});
    matches.push_back({{piece.first + begin, piece.first + end}, !step.invert});
    done = end;
    from = end > begin ? end : next_character(part, end);
  }
  if (done < part.size()) matches.push_back({{piece.first + done, piece.second}, step.invert});
}

/// Empty pieces count while pieces merge; cut_pieces() takes them out.
void apply_behavior(SplitBehavior behavior, const std::vector<std::pair<Piece, bool>>& matches,
                    std::vector<Piece>& out) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const auto& [piece, matched] : matches) out.push_back(piece);
      return;
    case SplitBehavior::kRemoved:
      for (const auto& [piece, matched] : matches) {
        if (!matched) out.push_back(piece);
      }
      return;
    case SplitBehavior::kContiguous:
      for (size_t i = 0; i < matches.size(); ++i) {
        Piece piece = matches[i].first;
        while (i + 1 < matches.size() && matches[i + 1].second == matches[i].second)
          piece.second = matches[++i].first.second;
        out.push_back(piece);
      }
      return;
    case SplitBehavior::kMergedWithPrevious: {
      bool previous_matched = false;
      const size_t first = out.size();
      for (const auto& [piece, matched] : matches) {
        if (matched && !previous_matched && out.size() > first) {
          out.back().second = piece.second;
        } else {
          out.push_back(piece);
        }
        previous_matched = matched;
      }
      return;
    }
    case SplitBehavior::kMergedWithNext:
      for (size_t i = 0; i < matches.size(); ++i) {
        Piece piece = matches[i].first;
        const bool takes_next = matches[i].second && i + 1 < matches.size() && !matches[i + 1].second;
        if (takes_next) piece.second = matches[++i].first.second;
        out.push_back(piece);
      }
      return;
  }
}

/// Appends `piece` with its spaces written as signs to `out`, and its pieces there to scratch.cut.
void apply_metaspace(std::string_view piece, const MetaspaceStep& step, bool first,
                     PreTokenizerScratch& scratch, std::string& out) {
  const size_t begin = out.size();
  const bool has_sign = piece.front() == ' ' || piece.substr(0, step.sign.size()) == step.sign;
  const bool prefix = step.prefix == MetaspaceStep::Prefix::kAlways ||
                      (step.prefix == MetaspaceStep::Prefix::kFirst && first);
  if (prefix && !has_sign) out += step.sign;
  for (const char c : piece) {
    if (c == ' ') {
      out += step.sign;
    } else {
      out += c;
    }
  }
  if (!step.split) {
    scratch.cut.push_back({begin, out.size()});
    return;
  }
  scratch.matches.clear();
  size_t done = begin;
  for (size_t at = out.find(step.sign, begin); at != std::string::npos; at = out.find(step.sign, done)) {
    if (at > done) scratch.matches.push_back({{done, at}, false});
    done = at + step.sign.size();
    scratch.matches.push_back({{at, done}, true});
  }
  if (done < out.size()) scratch.matches.push_back({{done, out.size()}, false});
  apply_behavior(SplitBehavior::kMergedWithNext, scratch.matches, scratch.cut);
}

}  // namespace

size_t PreTokenizer::next_character(std::string_view text, size_t at) {
  ++at;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  return at;
}

std::string_view PreTokenizer::cut_pieces(std::string_view text, bool at_start,
                                          PreTokenizerScratch& scratch) const {
  scratch.pieces.clear();
  if (!text.empty()) scratch.pieces.push_back({0, text.size()});
  size_t current = 0;
  for (const PreTokenizerStep& step : steps) {
    scratch.cut.clear();
    if (const auto* split = std::get_if<SplitStep>(&step)) {
      for (const Piece& piece : scratch.pieces) {
        find_matches(text, piece, *split, scratch, &PreTokenizer::next_character);
        apply_behavior(split->behavior, scratch.matches, scratch.cut);
      }
    } else {
      // The text may lie in the other one.
      std::string& out = scratch.texts[current];
      out.clear();
      for (const Piece& piece : scratch.pieces) {
        apply_metaspace(text.substr(piece.first, piece.second - piece.first), std::get<MetaspaceStep>(step),
                        at_start && piece.first == 0, scratch, out);
      }
      text = out;
      current = 1 - current;
    }
    std::erase_if(scratch.cut, [](const Piece& piece) { return piece.first == piece.second; });
    std::swap(scratch.pieces, scratch.cut);
  }
  return text;
}

}  // namespace ropescope
