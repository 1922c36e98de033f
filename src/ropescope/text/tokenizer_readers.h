// One reader for each form in which tokenizers are stored; load_tokenizer() picks.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "ropescope/core/json.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

/// True if a parsed tokenizer.json works on bytes (GPT-2, Qwen2, Llama-3 and their kin), false if on
/// characters (Llama-2, Gemma and others converted from SentencePiece).
bool is_byte_level_json(const Json& file);

/// `folder` holds tokenizer_config.json and so on; all throw InputError.
std::unique_ptr<Tokenizer> read_tokenizer_json(const Json& file, const std::filesystem::path& path);
std::unique_ptr<Tokenizer> read_vocab_and_merges(const std::filesystem::path& folder);
std::unique_ptr<Tokenizer> read_sentencepiece(const std::filesystem::path& path);
std::unique_ptr<Tokenizer> read_gguf_tokenizer(const std::filesystem::path& path);
/// The same from metadata at hand; `what` names the file in errors.
std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufMetadata& metadata, const std::string& what);

/// tokenizer.json and tokenizer_config.json that make the same tokenizer.
struct GgufTokenizerFiles {
  Json tokenizer, config;
};
/// Of a byte-level tokenizer inside a GGUF file; none for vocabularies of characters (llama, gemma4).
std::optional<GgufTokenizerFiles> gguf_tokenizer_files(const std::filesystem::path& path);

/// The chat template inside a GGUF file; none where it has none.
std::optional<std::string> gguf_chat_template(const std::filesystem::path& path);

}  // namespace ropescope
