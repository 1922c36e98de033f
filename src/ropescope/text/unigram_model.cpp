#include "ropescope/text/unigram_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ropescope/core/errors.h"
#include "ropescope/text/character_bpe.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

/// How much less likely than the least likely piece an unknown character is (both references).
constexpr double kUnknownPenalty = 10;

}  // namespace

UnigramModel::UnigramModel(UnigramFiles files) : what_(std::move(files.what)) {
  if (files.pieces.empty()) throw InputError("{}: expected a unigram vocabulary, found no pieces", what_);
  unknown_score_ = files.pieces.front().second;
  for (auto& [piece, score] : files.pieces) {
    const size_t id = tokens_.size();
    if (piece.empty() || !is_valid_utf8(piece))
      throw InputError("{}: the piece with id {} is empty or not UTF-8", what_, id);
    if (!std::isfinite(score)) throw InputError("{}: the piece \"{}\" has the score {}", what_, piece, score);
    unknown_score_ = std::min(unknown_score_, score);
    scores_.push_back(score);
    tokens_.push_back(std::move(piece));
  }
  unknown_score_ -= kUnknownPenalty;
  sorted_.resize(tokens_.size());
  std::iota(sorted_.begin(), sorted_.end(), 0);
  std::sort(sorted_.begin(), sorted_.end(), [&](int32_t a, int32_t b) { return tokens_[a] < tokens_[b]; });
  for (size_t i = 1; i < sorted_.size(); ++i) {
    const int32_t first = sorted_[i - 1];
    const int32_t second = sorted_[i];
    if (tokens_[first] == tokens_[second]) {
      throw InputError("{}: the piece \"{}\" has two ids, {} and {}", what_, tokens_[first],
                       std::min(first, second), std::max(first, second));
    }
  }
  if (files.unknown_id) {
    if (*files.unknown_id < 0 || *files.unknown_id >= size()) {
      throw InputError("{}: \"unk_id\": expected 0 to {}, found {}", what_, size() - 1, *files.unknown_id);
    }
    unknown_id_ = static_cast<int32_t>(*files.unknown_id);
  }
  bytes_.fill(-1);
  for (int b = 0; files.byte_fallback && b < 256; ++b) bytes_[b] = find(byte_token(static_cast<uint8_t>(b)));
}

int32_t UnigramModel::find(std::string_view piece) const {
  const auto found = std::lower_bound(sorted_.begin(), sorted_.end(), piece,
                                      [&](int32_t id, std::string_view text) { return tokens_[id] < text; });
  return found != sorted_.end() && tokens_[*found] == piece ? *found : -1;
}

void UnigramModel::find_paths(std::string_view word, std::vector<SubwordScratch::Arrival>& arrivals) const {
  arrivals.assign(word.size() + 1, {});
  const auto offer = [&](size_t start, size_t end, double score, int32_t id) {
    SubwordScratch::Arrival& arrival = arrivals[end];
    if (arrival.start >= 0 && score <= arrival.score) return;
    arrival = {score, static_cast<int32_t>(start), id};
  };
  for (size_t start = 0; start < word.size();) {
    const double here = arrivals[start].score;
    const size_t character = decode_utf8_char(word.substr(start)).length;
    bool covered = false;
    // The pieces that begin like the text are a range of the sorted ones, narrowed byte by byte.
    auto first = sorted_.begin();
    auto last = sorted_.end();
    for (size_t depth = 0; start + depth < word.size() && first != last; ++depth) {
      const auto byte = static_cast<unsigned char>(word[start + depth]);
      const auto byte_of = [&](int32_t id) {
        return depth < tokens_[id].size() ? static_cast<int>(static_cast<unsigned char>(tokens_[id][depth]))
                                          : -1;
      };
      first = std::lower_bound(first, last, byte, [&](int32_t id, int b) { return byte_of(id) < b; });
      last = std::upper_bound(first, last, byte, [&](int b, int32_t id) { return b < byte_of(id); });
      if (first == last || tokens_[*first].size() != depth + 1) continue;
      covered = covered || depth + 1 == character;
      offer(start, start + depth + 1, here + scores_[*first], *first);
    }
    if (!covered) {
      if (!unknown_id_) {
        throw InputError("{}: no piece covers \"{}\", and the model names no unknown piece (unk_id)", what_,
                         word.substr(start, character));
      }
      offer(start, start + character, here + unknown_score_, *unknown_id_);
    }
    start += character;
  }
}

/// A run of characters that no piece covers.
void UnigramModel::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  // The unknown piece's own name in a text is not an unknown character.
  if (const int32_t id = find(text); id >= 0) {
    ids.push_back(id);
    return;
  }
  const auto id_of = [&](char c) { return bytes_[static_cast<uint8_t>(c)]; };
  if (std::all_of(text.begin(), text.end(), [&](char c) { return id_of(c) >= 0; })) {
    for (const char c : text) ids.push_back(id_of(c));
  } else {
    ids.push_back(*unknown_id_);
  }
}

void UnigramModel::encode_word(std::string_view word, SubwordScratch& scratch,
                               std::vector<int32_t>& ids) const {
  find_paths(word, scratch.arrivals);
  std::vector<int32_t>& cuts = scratch.cuts;
  cuts.clear();
  for (auto end = static_cast<int32_t>(word.size()); end > 0; end = scratch.arrivals[end].start)
    cuts.push_back(end);
  const auto is_unknown = [&](size_t i) { return scratch.arrivals[cuts[i]].id == unknown_id_; };
  for (size_t i = cuts.size(); i-- > 0;) {
    const int32_t start = scratch.arrivals[cuts[i]].start;
    if (!unknown_id_ || !is_unknown(i)) {
      ids.push_back(scratch.arrivals[cuts[i]].id);
      continue;
    }
    while (i > 0 && is_unknown(i - 1)) --i;
    append_unknown(word.substr(start, cuts[i] - start), ids);
  }
}

}  // namespace ropescope
