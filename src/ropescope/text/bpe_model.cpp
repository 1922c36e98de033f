#include "ropescope/text/bpe_model.h"

#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/byte_alphabet.h"

namespace ropescope {

namespace {

using IdOfToken = std::unordered_map<std::string_view, int32_t>;

int32_t known_id(const IdOfToken& ids, std::string_view token, size_t merge, const std::string& what) {
  const auto found = ids.find(token);
  if (found == ids.end()) {
    throw InputError("{}: merge {} needs the token \"{}\", which the vocabulary does not have", what, merge,
                     token);
  }
  return found->second;
}

}  // namespace

std::vector<std::string> tokens_by_id(const BpeFiles& files) {
  // Ids may have gaps, but a file of a few tokens must not make us allocate for 2^60.
  const auto limit = static_cast<int64_t>(4 * files.vocabulary.size() + 65536);
  int64_t largest = -1;
  for (const auto& [token, id] : files.vocabulary) {
    if (id < 0 || id >= limit) {
      throw InputError("{}: token \"{}\" has id {}; expected 0 to {} for {} tokens", files.what, token, id,
                       limit - 1, files.vocabulary.size());
    }
    if (token.empty()) throw InputError("{}: the token with id {} is empty", files.what, id);
    largest = std::max(largest, id);
  }
  std::vector<std::string> tokens(largest + 1);
  for (const auto& [token, id] : files.vocabulary) {
    if (!tokens[id].empty()) {
      throw InputError("{}: id {} belongs to \"{}\" and to \"{}\"", files.what, id, tokens[id], token);
    }
    tokens[id] = token;
  }
  return tokens;
}

MergeTable merges_of(const BpeFiles& files, const std::vector<std::string>& tokens) {
  IdOfToken ids;
  ids.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    const auto [place, fresh] = ids.emplace(tokens[id], static_cast<int32_t>(id));
    if (!fresh) {
      throw InputError("{}: the token \"{}\" has two ids, {} and {}", files.what, tokens[id], place->second,
                       id);
    }
  }
  MergeTable merges(files.merges.size());
  std::string merged;
  for (size_t rank = 0; rank < files.merges.size(); ++rank) {
    const auto& [left, right] = files.merges[rank];
    merged.assign(left).append(right);
    const int32_t left_id = known_id(ids, left, rank, files.what);
    const int32_t right_id = known_id(ids, right, rank, files.what);
    const int32_t merged_id = known_id(ids, merged, rank, files.what);
    if (const auto* first = merges.add(left_id, right_id, static_cast<uint32_t>(rank), merged_id)) {
      throw InputError("{}: merges {} and {} are both \"{} {}\"", files.what, first->rank, rank, left, right);
    }
  }
  return merges;
}

BpeModel::BpeModel(const BpeFiles& files)
    : tokens_(tokens_by_id(files)), fuse_unknown_(files.fuse_unknown), merges_(0) {
  find_bytes(files);
  merges_ = merges_of(files, tokens_);
  if (files.ignore_merges) add_whole_words();
}

void BpeModel::find_bytes(const BpeFiles& files) {
  bytes_.resize(tokens_.size());
  byte_ids_.fill(-1);
  bool any_byte = false;
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const std::string& token = tokens_[id];
    if (token.empty()) continue;
    const auto bytes = token_bytes(token);
    bytes_[id] = bytes.value_or(token);
    if (bytes && bytes->size() == 1) {
      byte_ids_[static_cast<uint8_t>((*bytes)[0])] = static_cast<int32_t>(id);
      any_byte = true;
    }
    if (files.unknown_token && token == *files.unknown_token) unknown_id_ = static_cast<int32_t>(id);
  }
  if (!any_byte) {
    throw InputError("{}: expected a byte-level vocabulary, found no token for any single byte", files.what);
  }
}

void BpeModel::add_whole_words() {
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (token_bytes(tokens_[id])) words_.emplace_back(bytes_[id], static_cast<int32_t>(id));
  }
  std::sort(words_.begin(), words_.end());
}

int32_t BpeModel::find_whole_word(std::string_view word) const {
  const auto found = std::lower_bound(words_.begin(), words_.end(), std::pair(word, int32_t{-1}));
  return found != words_.end() && found->first == word ? found->second : -1;
}

void BpeModel::encode_word(std::string_view word, SubwordScratch& working, std::vector<int32_t>& ids) const {
  if (const int32_t whole = find_whole_word(word); whole >= 0) {
    ids.push_back(whole);
    return;
  }
  MergeScratch& scratch = working.merges;
  scratch.clear();
  bool after_unknown = false;
  for (const char c : word) {
    int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    const bool unknown = id < 0;
    if (unknown) {
      if (!unknown_id_ || (fuse_unknown_ && after_unknown)) continue;
      id = *unknown_id_;
    }
    after_unknown = unknown;
    scratch.push(id);
  }
  merges_.merge(scratch, ids);
}

}  // namespace ropescope
