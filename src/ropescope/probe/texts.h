// The texts of a measurement: documents of a corpus, tokenised, cut and filtered by length.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/models/media_prompt.h"
#include "ropescope/text/corpus.h"
#include "ropescope/text/tokenizer.h"

namespace ropescope {

struct TextLimits {
  int64_t max_texts = 100;
  int64_t max_tokens = 512;  ///< later tokens of a document are cut off
  int64_t min_tokens = 32;   ///< shorter documents are skipped and counted
};

/// The pictures and clips of a text, which are read when it is its turn; only their places stay in memory.
struct TextMedia {
  MediaPrompt prompt;  ///< one row, as long as the text
  std::vector<std::filesystem::path> images, videos;
  double fps = 0;  ///< of clips: see --fps; 0: not given
  std::string clips = {};  ///< what the record says of its clips, as JSON; empty: it has none

  /// Tokens up to the end of the last picture: no cut may fall into these.
  int64_t least_tokens() const;
  /// Cuts text off the end.
  void cut_to(int64_t tokens);
};

struct TokenizedText {
  std::string name;
  std::vector<int64_t> ids;
  std::shared_ptr<const TextMedia> media = nullptr;  ///< null: text alone

  /// [T] bool: tokens of pictures and clips, an anyres map's newlines among them. What stands between the tiles of a picture
  /// (tags, separators) and around it is text.
  std::vector<bool> visual() const;
};

/// Tokens and pictures of a document that names some (Document::media).
using ReadTextMedia = std::function<TextMedia(const Document&)>;

struct TextSet {
  std::vector<TokenizedText> texts;
  std::vector<std::filesystem::path> files;  ///< that were read, in that order
  int64_t skipped_short = 0;                 ///< documents before the last used one that were too short

  std::vector<int64_t> lengths() const;
  bool has_media() const;
};

/// The first `max_texts` documents that are long enough, in the corpus's own order. Start and end tokens are
/// added as the tokenizer's files say; an end token is cut off like any other token beyond max_tokens. Throws
/// InputError if no document is long enough, or a cut would fall into a picture. `read_media`: null: pictures that documents
/// name are left out, which is warned of once.
TextSet load_texts(const std::filesystem::path& corpus, CorpusForm form, const Tokenizer& tokenizer,
                   const TextLimits& limits, const ReadTextMedia& read_media = nullptr);

/// Consecutive texts that share a forward pass: at most `budget` tokens, or one longer text alone.
std::vector<std::vector<int64_t>> pack_texts(const std::vector<int64_t>& lengths, int64_t budget);
/// The same of those `texts` of a set, by their numbers; texts with pictures go alone.
std::vector<std::vector<int64_t>> pack_texts(const TextSet& set, const std::vector<int64_t>& texts,
                                             int64_t budget);

}  // namespace ropescope
