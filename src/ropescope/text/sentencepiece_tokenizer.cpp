#include "ropescope/text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include <sentencepiece_processor.h>

#include "ropescope/core/errors.h"
#include "ropescope/text/scratch_pool.h"
#include "ropescope/text/sentencepiece_bpe.h"
#include "ropescope/text/utf8.h"
#include "ropescope/text/word_cache.h"

namespace ropescope {

namespace {

constexpr std::string_view kSpacePiece = "\xE2\x96\x81";  // U+2581
struct SentencePieceScratch {
  WordCache cache;
  std::vector<int32_t> ids;
  MergeScratch merges;
  std::vector<int> library_ids;
  std::vector<TextPart> parts;
  std::string word;
};

/// Bytes of the space (U+0020 or U+2581, which means the same) that `text` starts with, or 0.
size_t space_length(std::string_view text) {
  if (!text.empty() && text.front() == ' ') return 1;
  return text.substr(0, kSpacePiece.size()) == kSpacePiece ? kSpacePiece.size() : 0;
}

std::string replace_spaces(std::string_view text) {
  std::string out;
  while (true) {
    const size_t space = text.find(kSpacePiece);
    out.append(text.substr(0, space));
    if (space == std::string_view::npos) return out;
    out += ' ';
    text.remove_prefix(space + kSpacePiece.size());
  }
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(SentencePieceFiles files);

  std::vector<int64_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override;
  int64_t vocab_size() const override { return size_; }
  std::string token(int64_t id) const override;
  std::optional<int64_t> bos_id() const override { return special_.bos; }
  std::optional<int64_t> eos_id() const override { return special_.eos; }
  std::string description() const override { return "SentencePiece"; }

 private:
  void collect_special_tokens(const std::vector<AddedToken>& added);
  void load(sentencepiece::SentencePieceProcessor& processor, const SentencePieceModel& model) const;
  void encode_part(std::string_view text, bool prefix, SentencePieceScratch& scratch) const;
  void encode_word(std::string_view word, SentencePieceScratch& scratch) const;
  size_t word_length(std::string_view text) const;

  std::string what_;
  std::vector<SentencePiece> pieces_;
  std::string unknown_surface_;
  bool drops_first_space_;
  bool drops_every_leading_space_;
  std::optional<SentencePieceBpe> fast_;  ///< where it applies; then the library is not asked
  bool legacy_;
  sentencepiece::SentencePieceProcessor with_prefix_;
  sentencepiece::SentencePieceProcessor without_prefix_;
  std::unordered_map<int64_t, AddedToken> added_;  ///< control pieces left out
  AddedTokenMatcher matcher_;
  SpecialIds special_;
  int64_t size_ = 0;
  mutable ScratchPool<SentencePieceScratch> pool_;
};

SentencePieceTokenizer::SentencePieceTokenizer(SentencePieceFiles files)
    : what_(std::move(files.what)),
      pieces_(files.model.pieces),
      unknown_surface_(files.model.unknown_surface),
      drops_first_space_(files.model.add_dummy_prefix || files.model.remove_extra_whitespaces),
      drops_every_leading_space_(files.model.remove_extra_whitespaces),
      legacy_(files.legacy),
      special_(std::move(files.special)),
      size_(static_cast<int64_t>(files.model.pieces.size())) {
  check_sentencepiece_model(files.model, what_);
  if (SentencePieceBpe::applies(files.model)) {
    fast_.emplace(files.model);
  } else {
    load(with_prefix_, files.model);
    files.model.add_dummy_prefix = false;
    load(without_prefix_, files.model);
  }
  collect_special_tokens(files.added);
  check_special_ids(special_, size_, what_);
}

void SentencePieceTokenizer::load(sentencepiece::SentencePieceProcessor& processor,
                                  const SentencePieceModel& model) const {
  const auto status = processor.LoadFromSerializedProto(serialize_sentencepiece_model(model));
  if (!status.ok()) throw InputError("{}: SentencePiece refuses the model: {}", what_, status.ToString());
}

void SentencePieceTokenizer::collect_special_tokens(const std::vector<AddedToken>& added) {
  std::vector<AddedToken> all;
  std::unordered_map<std::string, size_t> place;
  for (size_t id = 0; id < pieces_.size(); ++id) {
    if (pieces_[id].type != SentencePiece::Type::kControl &&
        pieces_[id].type != SentencePiece::Type::kUnknown)
      continue;
    AddedToken token;
    token.content = pieces_[id].text;
    token.id = static_cast<int64_t>(id);
    token.special = true;
    place.emplace(token.content, all.size());
    all.push_back(token);
  }
  const int64_t known = size_ + static_cast<int64_t>(added.size());
  const auto pieces = static_cast<int64_t>(pieces_.size());
  for (const AddedToken& token : added) {
    if (token.content.empty()) continue;
    check_added_token(token, known, what_);
    size_ = std::max(size_, token.id + 1);
    const auto [found, fresh] = place.emplace(token.content, all.size());
    if (fresh) {
      all.push_back(token);
    } else if (all[found->second].id != token.id) {
      throw InputError("{}: the token \"{}\" has two ids, {} and {}", what_, token.content,
                       all[found->second].id, token.id);
    } else {
      const bool special = all[found->second].special || token.special;
      all[found->second] = token;
      all[found->second].special = special;
    }
    const bool control = token.id < pieces && pieces_[token.id].type == SentencePiece::Type::kControl;
    const bool unknown = token.id < pieces && pieces_[token.id].type == SentencePiece::Type::kUnknown;
    const bool same = token.id < pieces && pieces_[token.id].text == token.content;
    if (!(same && (control || unknown)) && !added_.emplace(token.id, token).second) {
      throw InputError("{}: id {} belongs to two added tokens, \"{}\" and \"{}\"", what_, token.id,
                       added_.at(token.id).content, token.content);
    }
  }
  matcher_ = AddedTokenMatcher(all);
}

void SentencePieceTokenizer::encode_word(std::string_view word, SentencePieceScratch& scratch) const {
  const bool cacheable = word.size() <= WordCache::kLongestWord;
  if (cacheable && scratch.cache.find(word, scratch.ids)) return;
  const size_t before = scratch.ids.size();
  fast_->encode(word, scratch.merges, scratch.ids);
  if (cacheable) scratch.cache.insert(word, scratch.ids.data() + before, scratch.ids.size() - before);
}

/// Bytes of the first part of `text` (not empty) that can be encoded by itself: spaces and what follows them
/// up to the next space, or one newline.
size_t SentencePieceTokenizer::word_length(std::string_view text) const {
  if (!fast_->cuts_before_spaces()) return text.size();
  if (fast_->cuts_around_newlines() && text.front() == '\n') return 1;
  size_t at = 0;
  while (const size_t space = space_length(text.substr(at))) at += space;
  while (at < text.size() && space_length(text.substr(at)) == 0) {
    if (fast_->cuts_around_newlines() && text[at] == '\n') break;
    ++at;
  }
  return at;
}

/// Text between special tokens (not empty). `prefix`: put a space before it, if the model does that at all.
void SentencePieceTokenizer::encode_part(std::string_view text, bool prefix,
                                         SentencePieceScratch& scratch) const {
  if (!fast_) {
    const auto& processor = prefix ? with_prefix_ : without_prefix_;
    const auto status = processor.Encode(text, &scratch.library_ids);
    if (!status.ok()) throw InternalError("SentencePiece: {}", status.ToString());
    scratch.ids.insert(scratch.ids.end(), scratch.library_ids.begin(), scratch.library_ids.end());
    return;
  }
  std::string_view rest = text;
  if (prefix && drops_first_space_) {
    // The space belongs to the first word, which may be empty or begin with spaces of its own.
    const size_t length = word_length(text);
    scratch.word.assign(1, ' ').append(text.substr(0, length));
    encode_word(scratch.word, scratch);
    rest.remove_prefix(length);
  }
  while (!rest.empty()) {
    const size_t length = word_length(rest);
    encode_word(rest.substr(0, length), scratch);
    rest.remove_prefix(length);
  }
}

std::vector<int64_t> SentencePieceTokenizer::encode(std::string_view text,
                                                    const EncodeOptions& options) const {
  std::string repaired;
  text = readable_text(text, repaired);
  auto loan = pool_.borrow();
  SentencePieceScratch& scratch = *loan;
  scratch.ids.clear();
  matcher_.encode(
      text, options.specials_as_text, scratch.parts, scratch.ids,
      [&](std::string_view part, size_t begin) { encode_part(part, legacy_ || begin == 0, scratch); });
  return surround(scratch.ids, special_, options.add_special);
}

std::string SentencePieceTokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::string out;
  std::string bytes;
  bool at_start = true;
  const auto flush_bytes = [&] {
    for (std::string_view rest = bytes; !rest.empty();) {
      const Utf8Char next = decode_utf8_char(rest);
      const size_t length = next.valid ? next.length : 1;
      append_utf8(out, next.code);
      rest.remove_prefix(length);
      at_start = false;
    }
    bytes.clear();
  };
  for (const int64_t id : ids) {
    if (const auto added = added_.find(id); added != added_.end()) {
      flush_bytes();
      if (skip_special && added->second.special) continue;
      out += added->second.content;
      at_start = false;
      continue;
    }
    if (id < 0 || id >= static_cast<int64_t>(pieces_.size())) {
      throw InputError("token id {}: expected an id of the vocabulary, 0 to {}", id, size_ - 1);
    }
    const SentencePiece& piece = pieces_[id];
    if (piece.type == SentencePiece::Type::kByte) {
      int value = 0;
      std::from_chars(piece.text.data() + 3, piece.text.data() + 5, value, 16);
      bytes += static_cast<char>(value);
      continue;
    }
    flush_bytes();
    if (piece.type == SentencePiece::Type::kControl) continue;
    if (piece.type == SentencePiece::Type::kUnknown) {
      out += unknown_surface_;
      at_start = false;
      continue;
    }
    std::string_view text = piece.text;
    if (at_start && drops_first_space_ && text.substr(0, kSpacePiece.size()) == kSpacePiece) {
      text.remove_prefix(kSpacePiece.size());
      // The model put one space there itself, or as many as it likes if it removes extra ones.
      at_start = drops_every_leading_space_ && text.empty();
    } else {
      at_start = false;
    }
    out += replace_spaces(text);
  }
  flush_bytes();
  return out;
}

std::string SentencePieceTokenizer::token(int64_t id) const {
  if (const auto added = added_.find(id); added != added_.end()) return added->second.content;
  if (id < 0 || id >= static_cast<int64_t>(pieces_.size())) {
    throw InputError("token id {}: expected an id of the vocabulary, 0 to {}", id, size_ - 1);
  }
  return pieces_[id].text;
}

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(SentencePieceFiles files) {
  return std::make_unique<SentencePieceTokenizer>(std::move(files));
}

}  // namespace ropescope
