#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/text/tokenizer_readers.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& model) {
  check_model_is_there(model);
  if (!fs::is_directory(model)) {
    if (model.filename() == "tokenizer.json") return read_tokenizer_json(read_json_file(model), model);
    if (model.extension() == ".model") return read_sentencepiece(model);
    if (is_gguf_file(model)) return read_gguf_tokenizer(model);
    throw InputError("{}: expected a model folder, a .gguf file, tokenizer.json or tokenizer.model",
                     model.string());
  }
  const fs::path json_path = model / "tokenizer.json";
  const fs::path sentencepiece_path = model / "tokenizer.model";
  if (fs::exists(json_path)) {
    const Json file = read_json_file(json_path);
    // The .json of a SentencePiece model is a conversion; the .model is the original.
    if (is_byte_level_json(file) || !fs::exists(sentencepiece_path))
      return read_tokenizer_json(file, json_path);
  }
  if (fs::exists(sentencepiece_path)) return read_sentencepiece(sentencepiece_path);
  if (fs::exists(model / "vocab.json") && fs::exists(model / "merges.txt"))
    return read_vocab_and_merges(model);
  throw InputError(
      "{}: expected tokenizer.json, tokenizer.model, or vocab.json with merges.txt; found none of them",
      model.string());
}

}  // namespace ropescope
