#include "ropescope/text/pipeline_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/text/scratch_pool.h"
#include "ropescope/text/utf8.h"
#include "ropescope/text/word_cache.h"

namespace ropescope {

namespace {

struct PipelineScratch {
  WordCache cache;
  SubwordScratch subwords;
  NormalizerScratch normalizer;
  PreTokenizerScratch pre_tokenizer;
  std::vector<int32_t> ids;
  std::vector<TextPart> parts;
  std::vector<TextPart> inner_parts;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(std::unique_ptr<const SubwordModel> model, PipelineParts parts);

  std::vector<int64_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override;
  int64_t vocab_size() const override { return size_; }
  std::string token(int64_t id) const override;
  std::optional<int64_t> bos_id() const override { return special_.bos; }
  std::optional<int64_t> eos_id() const override { return special_.eos; }
  std::string description() const override { return model_->kind() + " (" + family_ + ")"; }

 private:
  void check_added_tokens(const std::vector<AddedToken>& added);
  const AddedToken* find_added(int64_t id) const;
  void encode_word(std::string_view word, PipelineScratch& scratch) const;
  void encode_words(std::string_view text, bool at_start, PipelineScratch& scratch) const;
  void encode_plain(std::string_view text, bool at_start, bool specials_as_text,
                    PipelineScratch& scratch) const;
  std::string decode_bytes(std::span<const int64_t> ids, bool skip_special) const;
  const std::string& known_token(int64_t id) const;

  std::unique_ptr<const SubwordModel> model_;
  std::string what_;
  std::string family_;
  std::vector<NormalizerStep> normalizer_;
  PreTokenizer pre_tokenizer_;
  std::optional<std::vector<DecoderStep>> decoder_;
  AddedTokenMatcher raw_matcher_;
  AddedTokenMatcher normal_matcher_;
  std::unordered_map<int64_t, AddedToken> added_;
  std::vector<bool> is_added_;  ///< by id: most lookups need no more
  SpecialIds special_;
  int64_t size_ = 0;
  mutable ScratchPool<PipelineScratch> pool_;
};

PipelineTokenizer::PipelineTokenizer(std::unique_ptr<const SubwordModel> model, PipelineParts parts)
    : model_(std::move(model)),
      what_(std::move(parts.what)),
      family_(std::move(parts.family)),
      normalizer_(std::move(parts.normalizer)),
      pre_tokenizer_(std::move(parts.pre_tokenizer)),
      decoder_(std::move(parts.decoder)),
      special_(std::move(parts.special)),
      size_(model_->size()) {
  check_added_tokens(parts.added);
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normal;
  NormalizerScratch scratch;
  for (AddedToken& token : parts.added) {
    if (!token.normalized) {
      raw.push_back(token);
      continue;
    }
    token.content = std::string(normalize(token.content, normalizer_, scratch));
    // The reference decodes to what it looks for.
    added_.at(token.id).content = token.content;
    normal.push_back(token);
  }
  raw_matcher_ = AddedTokenMatcher(raw);
  normal_matcher_ = AddedTokenMatcher(normal);
  check_special_ids(special_, size_, what_);
}

void PipelineTokenizer::check_added_tokens(const std::vector<AddedToken>& added) {
  const int64_t known = model_->size() + static_cast<int64_t>(added.size());
  std::unordered_map<std::string_view, int64_t> ids;
  for (const AddedToken& token : added) {
    check_added_token(token, known, what_);
    if (token.id < model_->size() && !model_->token(token.id).empty() &&
        model_->token(token.id) != token.content) {
      throw InputError("{}: id {} belongs to \"{}\" and to the added token \"{}\"", what_, token.id,
                       model_->token(token.id), token.content);
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
  for (int64_t id = 0; id < model_->size(); ++id) {
    const auto found = ids.find(model_->token(id));
    if (found != ids.end() && found->second != id) {
      throw InputError("{}: the token \"{}\" has two ids, {} in the vocabulary and {} among the added tokens",
                       what_, model_->token(id), id, found->second);
    }
  }
  is_added_.assign(size_, false);
  for (const AddedToken& token : added) is_added_[token.id] = true;
}

const AddedToken* PipelineTokenizer::find_added(int64_t id) const {
  if (id < 0 || id >= size_ || !is_added_[id]) return nullptr;
  return &added_.at(id);
}

void PipelineTokenizer::encode_word(std::string_view word, PipelineScratch& scratch) const {
  const bool cacheable = word.size() <= WordCache::kLongestWord;
  if (cacheable && scratch.cache.find(word, scratch.ids)) return;
  const size_t before = scratch.ids.size();
  model_->encode_word(word, scratch.subwords, scratch.ids);
  if (cacheable) scratch.cache.insert(word, scratch.ids.data() + before, scratch.ids.size() - before);
}

void PipelineTokenizer::encode_words(std::string_view text, bool at_start, PipelineScratch& scratch) const {
  pre_tokenizer_.split(text, at_start, scratch.pre_tokenizer, [&](std::string_view word) {
    while (!word.empty()) {
      const size_t length = model_->independent_length(word);
      encode_word(word.substr(0, length), scratch);
      word.remove_prefix(length);
    }
  });
}

/// Text between added tokens of the raw kind.
void PipelineTokenizer::encode_plain(std::string_view text, bool at_start, bool specials_as_text,
                                     PipelineScratch& scratch) const {
  const std::string_view normal = normalize(text, normalizer_, scratch.normalizer);
  // The reference counts from where the text begins in the one it was given, so a lost start is no start.
  at_start = at_start && !scratch.normalizer.start_lost;
  if (normal_matcher_.empty()) {
    encode_words(normal, at_start, scratch);
    return;
  }
  normal_matcher_.encode(
      normal, specials_as_text, scratch.inner_parts, scratch.ids,
      [&](std::string_view part, size_t begin) { encode_words(part, at_start && begin == 0, scratch); });
}

std::vector<int64_t> PipelineTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  text = readable_text(text, repaired);
  auto loan = pool_.borrow();
  PipelineScratch& scratch = *loan;
  scratch.ids.clear();
  raw_matcher_.encode(text, options.specials_as_text, scratch.parts, scratch.ids,
                      [&](std::string_view part, size_t begin) {
                        encode_plain(part, begin == 0, options.specials_as_text, scratch);
                      });
  return surround(scratch.ids, special_, options.add_special);
}

const std::string& PipelineTokenizer::known_token(int64_t id) const {
  if (const AddedToken* added = find_added(id)) return added->content;
  if (id < 0 || id >= model_->size() || model_->token(id).empty()) {
    throw InputError("token id {}: expected an id of the vocabulary, 0 to {}", id, size_ - 1);
  }
  return model_->token(id);
}

std::string PipelineTokenizer::decode_bytes(std::span<const int64_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int64_t id : ids) {
    const AddedToken* added = find_added(id);
    if (skip_special && added != nullptr && added->special) continue;
    const std::string& token = known_token(id);
    bytes += added != nullptr ? token : model_->bytes(id);
  }
  return is_valid_utf8(bytes) ? bytes : replace_broken_utf8(bytes);
}

std::string PipelineTokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  if (!decoder_) return decode_bytes(ids, skip_special);
  std::vector<std::string> tokens;
  for (const int64_t id : ids) {
    const AddedToken* added = find_added(id);
    if (skip_special && added != nullptr && added->special) continue;
    // As the reference joins tokens where no decoder says how.
    if (decoder_->empty() && !tokens.empty()) tokens.emplace_back(" ");
    tokens.push_back(known_token(id));
  }
  return decode_tokens(std::move(tokens), *decoder_);
}

std::string PipelineTokenizer::token(int64_t id) const { return known_token(id); }

}  // namespace

std::unique_ptr<Tokenizer> make_pipeline_tokenizer(std::unique_ptr<const SubwordModel> model,
                                                   PipelineParts parts) {
  return std::make_unique<PipelineTokenizer>(std::move(model), std::move(parts));
}

std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelFiles files) {
  return make_pipeline_tokenizer(std::make_unique<BpeModel>(files.bpe), std::move(files.parts));
}

}  // namespace ropescope
