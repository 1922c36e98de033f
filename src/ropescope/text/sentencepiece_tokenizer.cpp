#include "ropescope/text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include <sentencepiece_processor.h>

#include "ropescope/core/errors.h"
#include "ropescope/text/scratch_pool.h"
#include "ropescope/text/utf8.h"
#include "ropescope/text/word_cache.h"

namespace ropescope {

namespace {

constexpr std::string_view kSpacePiece = "\xE2\x96\x81";  // U+2581
constexpr size_t kLongestAddedToken = 1024;
constexpr size_t kLongestText = size_t{1} << 30;

struct EncodeScratch {
  WordCache cache;
  std::vector<int32_t> ids;
  std::vector<int> word_ids;
  std::vector<TextPart> parts;
  std::string word;
};

/// True if no merge can join a space to what stands before it, so that text may be cut there.
bool words_are_independent(const SentencePieceModel& model) {
  const bool identity = model.kind == SentencePieceModel::Kind::kBpe && model.character_map.empty() &&
                        model.escape_whitespaces && !model.remove_extra_whitespaces;
  // Without byte fallback SentencePiece joins neighbouring unknown characters to one piece.
  if (!identity || !model.byte_fallback) return false;
  return std::all_of(model.pieces.begin(), model.pieces.end(), [](const SentencePiece& piece) {
    if (piece.type == SentencePiece::Type::kUserDefined) return false;
    const size_t last_space = piece.text.rfind(kSpacePiece);
    if (last_space == std::string::npos) return true;
    std::string_view before = std::string_view(piece.text).substr(0, last_space);
    while (before.substr(0, kSpacePiece.size()) == kSpacePiece) before.remove_prefix(kSpacePiece.size());
    return before.empty();
  });
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
  std::optional<int64_t> bos_id() const override { return bos_id_; }
  std::optional<int64_t> eos_id() const override { return eos_id_; }
  std::string description() const override { return "SentencePiece"; }

 private:
  void collect_special_tokens(const std::vector<AddedToken>& added);
  void load(sentencepiece::SentencePieceProcessor& processor, const SentencePieceModel& model) const;
  void encode_part(std::string_view text, bool prefix, EncodeScratch& scratch) const;
  void encode_word(std::string_view word, EncodeScratch& scratch) const;

  std::string what_;
  std::vector<SentencePiece> pieces_;
  std::string unknown_surface_;
  bool drops_first_space_;
  bool drops_every_leading_space_;
  bool by_words_;
  bool legacy_;
  sentencepiece::SentencePieceProcessor with_prefix_;
  sentencepiece::SentencePieceProcessor without_prefix_;
  std::unordered_map<int64_t, AddedToken> added_;  ///< control pieces left out
  AddedTokenMatcher matcher_;
  std::vector<int64_t> start_ids_;
  std::vector<int64_t> end_ids_;
  std::optional<int64_t> bos_id_;
  std::optional<int64_t> eos_id_;
  int64_t size_ = 0;
  mutable ScratchPool<EncodeScratch> pool_;
};

SentencePieceTokenizer::SentencePieceTokenizer(SentencePieceFiles files)
    : what_(std::move(files.what)),
      pieces_(files.model.pieces),
      unknown_surface_(files.model.unknown_surface),
      drops_first_space_(files.model.add_dummy_prefix || files.model.remove_extra_whitespaces),
      drops_every_leading_space_(files.model.remove_extra_whitespaces),
      by_words_(words_are_independent(files.model)),
      legacy_(files.legacy),
      start_ids_(std::move(files.start_ids)),
      end_ids_(std::move(files.end_ids)),
      bos_id_(files.bos_id),
      eos_id_(files.eos_id),
      size_(static_cast<int64_t>(files.model.pieces.size())) {
  check_sentencepiece_model(files.model, what_);
  load(with_prefix_, files.model);
  const bool prefix = files.model.add_dummy_prefix;
  files.model.add_dummy_prefix = false;
  load(without_prefix_, files.model);
  files.model.add_dummy_prefix = prefix;
  collect_special_tokens(files.added);
  const auto check = [&](int64_t id) {
    if (id < 0 || id >= size_) {
      throw InputError("{}: a start or end token has id {}; expected 0 to {}", what_, id, size_ - 1);
    }
  };
  std::for_each(start_ids_.begin(), start_ids_.end(), check);
  std::for_each(end_ids_.begin(), end_ids_.end(), check);
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
  const int64_t limit = 4 * (size_ + static_cast<int64_t>(added.size())) + 65536;
  const auto pieces = static_cast<int64_t>(pieces_.size());
  for (const AddedToken& token : added) {
    if (token.content.empty()) continue;
    if (token.content.size() > kLongestAddedToken || !is_valid_utf8(token.content)) {
      throw InputError("{}: the added token with id {} is not UTF-8 of at most {} bytes", what_, token.id,
                       kLongestAddedToken);
    }
    if (token.id < 0 || token.id >= limit) {
      throw InputError("{}: added token \"{}\" has id {}; expected 0 to {}", what_, token.content, token.id,
                       limit - 1);
    }
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

void SentencePieceTokenizer::encode_word(std::string_view word, EncodeScratch& scratch) const {
  const bool cacheable = word.size() <= WordCache::kLongestWord;
  if (cacheable && scratch.cache.find(word, scratch.ids)) return;
  const auto status = without_prefix_.Encode(word, &scratch.word_ids);
  if (!status.ok()) throw InternalError("SentencePiece: {}", status.ToString());
  const size_t before = scratch.ids.size();
  scratch.ids.insert(scratch.ids.end(), scratch.word_ids.begin(), scratch.word_ids.end());
  if (cacheable) scratch.cache.insert(word, scratch.ids.data() + before, scratch.ids.size() - before);
}

/// Text between special tokens (not empty). `prefix`: put a space before it, if the model does that at all.
void SentencePieceTokenizer::encode_part(std::string_view text, bool prefix, EncodeScratch& scratch) const {
  if (!by_words_) {
    const auto& processor = prefix ? with_prefix_ : without_prefix_;
    const auto status = processor.Encode(text, &scratch.word_ids);
    if (!status.ok()) throw InternalError("SentencePiece: {}", status.ToString());
    scratch.ids.insert(scratch.ids.end(), scratch.word_ids.begin(), scratch.word_ids.end());
    return;
  }
  const auto is_space = [&](size_t at) {
    return text[at] == ' ' || text.compare(at, kSpacePiece.size(), kSpacePiece) == 0;
  };
  size_t begin = 0;
  bool after_space = true;
  for (size_t at = 0; at <= text.size(); ++at) {
    const bool space = at < text.size() && is_space(at);
    if (at == text.size() || (space && !after_space)) {
      std::string_view word = text.substr(begin, at - begin);
      if (begin == 0 && prefix && drops_first_space_) {
        scratch.word.assign(1, ' ').append(word);
        word = scratch.word;
      }
      if (!word.empty()) encode_word(word, scratch);
      begin = at;
    }
    after_space = space;
    if (space && text[at] != ' ') at += kSpacePiece.size() - 1;
  }
}

std::vector<int64_t> SentencePieceTokenizer::encode(std::string_view text,
                                                    const EncodeOptions& options) const {
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
  matcher_.split(text, options.specials_as_text, scratch.parts);
  for (const TextPart& part : scratch.parts) {
    if (part.token >= 0) {
      scratch.ids.push_back(static_cast<int32_t>(part.token));
    } else {
      encode_part(text.substr(part.begin, part.end - part.begin), legacy_ || part.begin == 0, scratch);
    }
  }
  std::vector<int64_t> ids;
  ids.reserve(scratch.ids.size() + start_ids_.size() + end_ids_.size());
  if (options.add_special) ids.insert(ids.end(), start_ids_.begin(), start_ids_.end());
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
  if (options.add_special) ids.insert(ids.end(), end_ids_.begin(), end_ids_.end());
  return ids;
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
