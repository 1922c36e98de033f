// Tokenizers: byte-level BPE (GPT-2, Qwen, Llama-3, GPT-4o and their kin), BPE on characters and unigram (files that
// transformers made of SentencePiece models: Gemma, Phi-3), and SentencePiece itself (Llama, Vicuna).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ropescope {

struct EncodeOptions {
  bool add_special = true;        ///< start and end tokens as the tokenizer's files say
  bool specials_as_text = false;  ///< special tokens inside the text are ordinary characters
};

/// Immutable once built: share it between threads freely.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Text is UTF-8; broken bytes are read as U+FFFD, as the references do.
  virtual std::vector<int64_t> encode(std::string_view text, const EncodeOptions& options) const = 0;
  /// UTF-8; each maximal broken part becomes one U+FFFD. Throws InputError for an id outside the vocabulary.
  virtual std::string decode(std::span<const int64_t> ids, bool skip_special) const = 0;

  /// Number of ids, added tokens included.
  virtual int64_t vocab_size() const = 0;
  /// The text form of one token, for labels ("Ġthe" stays as stored).
  virtual std::string token(int64_t id) const = 0;
  virtual std::optional<int64_t> bos_id() const = 0;
  virtual std::optional<int64_t> eos_id() const = 0;
  /// "byte-level BPE (qwen2)", "BPE on characters (tokenizer.json)", "SentencePiece".
  virtual std::string description() const = 0;
};

/// From a folder (tokenizer.json, or tokenizer.model, or vocab.json + merges.txt, with tokenizer_config.json
/// beside them) or a .gguf file. Throws InputError.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& model);

}  // namespace ropescope
