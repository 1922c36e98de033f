#include "ropescope/text/byte_level_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/scratch_pool.h"
#include "ropescope/text/utf8.h"
#include "ropescope/text/word_cache.h"

namespace ropescope {

namespace {

constexpr size_t kLongestAddedToken = 1024;
// Symbol numbers are 32-bit.
constexpr size_t kLongestText = size_t{1} << 30;

struct EncodeScratch {
  WordCache cache;
  BpeScratch bpe;
  PreTokenizerScratch pre_tokenizer;
  std::vector<int32_t> ids;
  std::vector<TextPart> parts;
  std::vector<TextPart> inner_parts;
  std::string normal_text;
};

class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(ByteLevelFiles files);

  std::vector<int64_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override;
  int64_t vocab_size() const override { return size_; }
  std::string token(int64_t id) const override;
  std::optional<int64_t> bos_id() const override { return bos_id_; }
  std::optional<int64_t> eos_id() const override { return eos_id_; }
  std::string description() const override { return "byte-level BPE (" + family_ + ")"; }

 private:
  void check_added_tokens(const std::vector<AddedToken>& added);
  void check_id(int64_t id, const char* role) const;
  void encode_words(std::string_view text, EncodeScratch& scratch) const;
  void encode_plain(std::string_view text, bool specials_as_text, EncodeScratch& scratch) const;

  BpeModel model_;
  std::string what_;
  std::string family_;
  std::vector<NormalForm> normal_forms_;
  PreTokenizer pre_tokenizer_;
  AddedTokenMatcher raw_matcher_;
  AddedTokenMatcher normal_matcher_;
  std::unordered_map<int64_t, AddedToken> added_;
  std::vector<int64_t> start_ids_;
  std::vector<int64_t> end_ids_;
  std::optional<int64_t> bos_id_;
  std::optional<int64_t> eos_id_;
  int64_t size_ = 0;
  mutable ScratchPool<EncodeScratch> pool_;
};

ByteLevelTokenizer::ByteLevelTokenizer(ByteLevelFiles files)
    : model_(files.bpe),
      what_(files.bpe.what),
      family_(std::move(files.family)),
      normal_forms_(std::move(files.normal_forms)),
      pre_tokenizer_(std::move(files.pre_tokenizer)),
      start_ids_(std::move(files.start_ids)),
      end_ids_(std::move(files.end_ids)),
      bos_id_(files.bos_id),
      eos_id_(files.eos_id),
      size_(model_.size()) {
  check_added_tokens(files.added);
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normal;
  for (AddedToken& token : files.added) {
    if (!token.normalized) {
      raw.push_back(token);
      continue;
    }
    std::string buffer;
    token.content = std::string(normalize(token.content, normal_forms_, buffer));
    normal.push_back(token);
  }
  raw_matcher_ = AddedTokenMatcher(raw);
  normal_matcher_ = AddedTokenMatcher(normal);
  for (const int64_t id : start_ids_) check_id(id, "start token");
  for (const int64_t id : end_ids_) check_id(id, "end token");
  if (bos_id_) check_id(*bos_id_, "start token");
  if (eos_id_) check_id(*eos_id_, "end token");
}

void ByteLevelTokenizer::check_added_tokens(const std::vector<AddedToken>& added) {
  const int64_t limit = 4 * (model_.size() + static_cast<int64_t>(added.size())) + 65536;
  std::unordered_map<std::string_view, int64_t> ids;
  for (const AddedToken& token : added) {
    if (token.content.size() > kLongestAddedToken || !is_valid_utf8(token.content)) {
      throw InputError("{}: the added token with id {} is not UTF-8 of at most {} bytes", what_, token.id,
                       kLongestAddedToken);
    }
    if (token.id < 0 || token.id >= limit) {
      throw InputError("{}: added token \"{}\" has id {}; expected 0 to {}", what_, token.content, token.id,
                       limit - 1);
    }
    if (token.id < model_.size() && !model_.token(token.id).empty() &&
        model_.token(token.id) != token.content) {
      throw InputError("{}: id {} belongs to \"{}\" and to the added token \"{}\"", what_, token.id,
                       model_.token(token.id), token.content);
    }
    if (!added_.emplace(token.id, token).second) {
      throw InputError("{}: id {} belongs to two added tokens, \"{}\" and \"{}\"", what_, token.id,
                       added_.at(token.id).content, token.content);
    }
    if (!ids.emplace(token.content, token.id).second) {
      throw InputError("{}: the added token \"{}\" has two ids, {} and {}", what_, token.content,
                       ids.at(token.content), token.id);
    }
    size_ = std::max(size_, token.id + 1);
  }
}

void ByteLevelTokenizer::check_id(int64_t id, const char* role) const {
  if (id < 0 || id >= size_) {
    throw InputError("{}: the {} has id {}; expected 0 to {}", what_, role, id, size_ - 1);
  }
}

void ByteLevelTokenizer::encode_words(std::string_view text, EncodeScratch& scratch) const {
  pre_tokenizer_.split(text, scratch.pre_tokenizer, [&](std::string_view word) {
    const bool cacheable = word.size() <= WordCache::kLongestWord;
    if (cacheable && scratch.cache.find(word, scratch.ids)) return;
    const size_t before = scratch.ids.size();
    model_.encode_word(word, scratch.bpe, scratch.ids);
    if (cacheable) scratch.cache.insert(word, scratch.ids.data() + before, scratch.ids.size() - before);
  });
}

/// Text between added tokens of the raw kind.
void ByteLevelTokenizer::encode_plain(std::string_view text, bool specials_as_text,
                                      EncodeScratch& scratch) const {
  const std::string_view normal = normalize(text, normal_forms_, scratch.normal_text);
  if (normal_matcher_.empty()) {
    encode_words(normal, scratch);
    return;
  }
  scratch.inner_parts.clear();
  normal_matcher_.split(normal, specials_as_text, scratch.inner_parts);
  for (const TextPart& part : scratch.inner_parts) {
    if (part.token >= 0) {
      scratch.ids.push_back(static_cast<int32_t>(part.token));
    } else {
      encode_words(normal.substr(part.begin, part.end - part.begin), scratch);
    }
  }
}

std::vector<int64_t> ByteLevelTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kLongestText) {
    throw InputError("text: expected at most {} bytes, found {}; cut it into parts", kLongestText,
                     text.size());
  }
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_broken_utf8(text);
    text = repaired;
  }
  auto loan = pool_.borrow();
  EncodeScratch& scratch = *loan;
  scratch.ids.clear();
  scratch.parts.clear();
  raw_matcher_.split(text, options.specials_as_text, scratch.parts);
  for (const TextPart& part : scratch.parts) {
    if (part.token >= 0) {
      scratch.ids.push_back(static_cast<int32_t>(part.token));
    } else {
      encode_plain(text.substr(part.begin, part.end - part.begin), options.specials_as_text, scratch);
    }
  }
  std::vector<int64_t> ids;
  ids.reserve(scratch.ids.size() + start_ids_.size() + end_ids_.size());
  if (options.add_special) ids.insert(ids.end(), start_ids_.begin(), start_ids_.end());
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
  if (options.add_special) ids.insert(ids.end(), end_ids_.begin(), end_ids_.end());
  return ids;
}

std::string ByteLevelTokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int64_t id : ids) {
    if (const auto added = added_.find(id); added != added_.end()) {
      if (!(skip_special && added->second.special)) bytes += added->second.content;
    } else if (id >= 0 && id < model_.size() && !model_.token(id).empty()) {
      bytes += model_.bytes(id);
    } else {
      throw InputError("token id {}: expected an id of the vocabulary, 0 to {}", id, size_ - 1);
    }
  }
  return is_valid_utf8(bytes) ? bytes : replace_broken_utf8(bytes);
}

std::string ByteLevelTokenizer::token(int64_t id) const {
  if (const auto added = added_.find(id); added != added_.end()) return added->second.content;
  if (id < 0 || id >= model_.size() || model_.token(id).empty()) {
    throw InputError("token id {}: expected an id of the vocabulary, 0 to {}", id, size_ - 1);
  }
  return model_.token(id);
}

}  // namespace

std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelFiles files) {
  return std::make_unique<ByteLevelTokenizer>(std::move(files));
}

}  // namespace ropescope
