// tokenizer.model with the files beside it.
#include <unordered_map>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/text/sentencepiece_tokenizer.h"
#include "ropescope/text/tokenizer_config.h"
#include "ropescope/text/tokenizer_readers.h"

namespace ropescope {

namespace {

/// The token's id if some list has it, else the id of the model's own piece for that role.
std::optional<int64_t> role_id(const std::optional<std::string>& named, const std::string& own_piece,
                               const SentencePieceFiles& files) {
  if (const auto added = added_token_id(files.added, named)) return added;
  const int64_t id = files.model.find(named.value_or(own_piece));
  return id < 0 ? std::nullopt : std::optional(id);
}

}  // namespace

std::unique_ptr<Tokenizer> read_sentencepiece(const std::filesystem::path& path) {
  constexpr uint64_t kLargestModel = uint64_t{1} << 28;
  SentencePieceFiles files;
  files.what = path.string();
  files.model = parse_sentencepiece_model(read_file(path, kLargestModel), files.what);
  const TokenizerConfig config = read_tokenizer_config(path.parent_path());
  files.legacy = config.legacy;
  std::unordered_map<std::string_view, int64_t> ids;
  for (size_t id = 0; id < files.model.pieces.size(); ++id) ids.emplace(files.model.pieces[id].text, id);
  merge_added_tokens(files.added, config, [&](const std::string& content) -> std::optional<int64_t> {
    const auto found = ids.find(content);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  });
  files.special.bos = role_id(config.bos_token, files.model.bos_piece, files);
  files.special.eos = role_id(config.eos_token, files.model.eos_piece, files);
  // As LlamaTokenizer does where its file does not say.
  if (config.add_bos_token.value_or(true) && files.special.bos)
    files.special.start.push_back(*files.special.bos);
  if (config.add_eos_token.value_or(false) && files.special.eos)
    files.special.end.push_back(*files.special.eos);
  return make_sentencepiece_tokenizer(std::move(files));
}

}  // namespace ropescope
