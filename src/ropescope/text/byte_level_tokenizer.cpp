#include "ropescope/text/byte_level_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/scratch_pool.h"
#include "ropescope/text/utf8.h"
#include "ropescope/text/word_cache.h"

namespace ropescope {

namespace {

struct ByteLevelScratch {
  WordCache cache;
  MergeScratch merges;
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
  std::optional<int64_t> bos_id() const override { return special_.bos; }
  std::optional<int64_t> eos_id() const override { return special_.eos; }
  std::string description() const override { return "byte-level BPE (" + family_ + ")"; }

 private:
  void check_added_tokens(const std::vector<AddedToken>& added);
  const AddedToken* find_added(int64_t id) const;
  void encode_words(std::string_view text, ByteLevelScratch& scratch) const;
  void encode_plain(std::string_view text, bool specials_as_text, ByteLevelScratch& scratch) const;

  BpeModel model_;
  std::string what_;
  std::string family_;
  std::vector<NormalForm> normal_forms_;
  PreTokenizer pre_tokenizer_;
  AddedTokenMatcher raw_matcher_;
  AddedTokenMatcher normal_matcher_;
  std::unordered_map<int64_t, AddedToken> added_;
  std::vector<bool> is_added_;  ///< by id: most lookups need no more
  SpecialIds special_;
  int64_t size_ = 0;
  mutable ScratchPool<ByteLevelScratch> pool_;
};

ByteLevelTokenizer::ByteLevelTokenizer(ByteLevelFiles files)
    : model_(files.bpe),
      what_(files.bpe.what),
      family_(std::move(files.family)),
      normal_forms_(std::move(files.normal_forms)),
      pre_tokenizer_(std::move(files.pre_tokenizer)),
      special_(std::move(files.special)),
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
  check_special_ids(special_, size_, what_);
}

void ByteLevelTokenizer::check_added_tokens(const std::vector<AddedToken>& added) {
  const int64_t known = model_.size() + static_cast<int64_t>(added.size());
  std::unordered_map<std::string_view, int64_t> ids;
  for (const AddedToken& token : added) {
    check_added_token(token, known, what_);
    if (token.id < model_.size() && !model_.token(token.id).empty() &&
        model_.token(token.id) != token.content) {
      throw InputError("{}: id {} belongs to \"{}\" and to the added token \"{}\"", what_, token.id,
                       model_.token(token.id), token.content);
    }
    if (!added_.emplace(token.id, token).second) {
      throw InputError("{}: id {} belongs to two added tokens, \"{}\" and \"{}\"", what_, token.id,
                       added_.at(token.id).content, token.content);
    }
    if (!token.content.empty() && !ids.emplace(token.content, token.id).second) {
      throw InputError("{}: the added token \"{}\" has two ids, {} and {}", what_, token.content,
                       ids.at(token.content), token.id);
    }
    size_ = std::max(size_, token.id + 1);
  }
  for (int64_t id = 0; id < model_.size(); ++id) {
    const auto found = ids.find(model_.token(id));
    if (found != ids.end() && found->second != id) {
      throw InputError("{}: the token \"{}\" has two ids, {} in the vocabulary and {} among the added tokens",
                       what_, model_.token(id), id, found->second);
    }
  }
  is_added_.assign(size_, false);
  for (const AddedToken& token : added) is_added_[token.id] = true;
}

const AddedToken* ByteLevelTokenizer::find_added(int64_t id) const {
  if (id < 0 || id >= size_ || !is_added_[id]) return nullptr;
  return &added_.at(id);
}

void ByteLevelTokenizer::encode_words(std::string_view text, ByteLevelScratch& scratch) const {
  pre_tokenizer_.split(text, scratch.pre_tokenizer, [&](std::string_view word) {
    const bool cacheable = word.size() <= WordCache::kLongestWord;
    if (cacheable && scratch.cache.find(word, scratch.ids)) return;
    const size_t before = scratch.ids.size();
    model_.encode_word(word, scratch.merges, scratch.ids);
    if (cacheable) scratch.cache.insert(word, scratch.ids.data() + before, scratch.ids.size() - before);
  });
}

/// Text between added tokens of the raw kind.
void ByteLevelTokenizer::encode_plain(std::string_view text, bool specials_as_text,
                                      ByteLevelScratch& scratch) const {
  const std::string_view normal = normalize(text, normal_forms_, scratch.normal_text);
  if (normal_matcher_.empty()) {
    encode_words(normal, scratch);
    return;
  }
  normal_matcher_.encode(normal, specials_as_text, scratch.inner_parts, scratch.ids,
                         [&](std::string_view part, size_t) { encode_words(part, scratch); });
}

std::vector<int64_t> ByteLevelTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  text = readable_text(text, repaired);
  auto loan = pool_.borrow();
  ByteLevelScratch& scratch = *loan;
  scratch.ids.clear();
  raw_matcher_.encode(
      text, options.specials_as_text, scratch.parts, scratch.ids,
      [&](std::string_view part, size_t) { encode_plain(part, options.specials_as_text, scratch); });
  return surround(scratch.ids, special_, options.add_special);
}

std::string ByteLevelTokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int64_t id : ids) {
    if (const AddedToken* added = find_added(id)) {
      if (!(skip_special && added->special)) bytes += added->content;
    } else if (id >= 0 && id < model_.size() && !model_.token(id).empty()) {
      bytes += model_.bytes(id);
    } else {
      throw InputError("token id {}: expected an id of the vocabulary, 0 to {}", id, size_ - 1);
    }
  }
  return is_valid_utf8(bytes) ? bytes : replace_broken_utf8(bytes);
}

std::string ByteLevelTokenizer::token(int64_t id) const {
  if (const AddedToken* added = find_added(id)) return added->content;
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
