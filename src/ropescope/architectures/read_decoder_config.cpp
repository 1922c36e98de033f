// The decoder of a folder or file.
#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/gguf_config.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

DecoderConfig read_gguf(const fs::path& path) {
  const MappedFile file(path);
  return gguf_decoder_config(parse_gguf(file.bytes(), path.string()), file.bytes(), path.string());
}

DecoderConfig read_folder(const fs::path& folder) {
  const fs::path config_path = folder / "config.json";
  const Json config = read_json_file(config_path);
  DecoderConfig decoder = is_llava_config(config) ? parse_llava_decoder_config(config, config_path.string())
                                                  : parse_decoder_config(config, config_path.string());
  add_generation_end_tokens(folder, decoder);
  return decoder;
}

/// The only GGUF file of a folder, if there is exactly one.
std::optional<fs::path> only_gguf_file(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".gguf") found.push_back(entry.path());
  }
  if (found.size() != 1) return std::nullopt;
  return found.front();
}

}  // namespace

DecoderConfig read_decoder_config(const fs::path& model) {
  std::error_code code;
  check_model_is_there(model);
  if (fs::is_directory(model, code)) {
    if (fs::exists(model / "config.json")) return read_folder(model);
    if (const auto file = only_gguf_file(model)) return read_gguf(*file);
    throw InputError("{}: expected a folder with config.json, or with one .gguf file", model.string());
  }
  if (is_gguf_file(model)) return read_gguf(model);
  const fs::path folder = model.has_parent_path() ? model.parent_path() : fs::path(".");
  if (fs::exists(folder / "config.json")) return read_folder(folder);
  throw InputError("{}: expected a .gguf file, or a weight file with config.json beside it", model.string());
}

}  // namespace ropescope
