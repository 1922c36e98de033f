// The small files beside a vocabulary: tokenizer_config.json, special_tokens_map.json, added_tokens.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/text/added_tokens.h"

namespace ropescope {

struct TokenizerConfig {
  std::string tokenizer_class;  ///< without "Fast"; empty: not said
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> unk_token;
  std::vector<std::string> special_tokens;       ///< every token that has a role, those above included
  std::vector<std::string> more_special_tokens;  ///< of the lists of such tokens, without a role
  std::vector<AddedToken> added;                 ///< with their ids
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_prefix_space;
  bool legacy = true;  ///< SentencePiece: every part after a special token gets a leading space piece
};

/// Missing files say nothing. Throws InputError for files that are there and wrong.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

/// One entry of an added_tokens list (tokenizer.json) or of added_tokens_decoder, with the given id.
AddedToken parse_added_token(const Json& entry, int64_t id, const std::string& what);

/// Adds to `added` what the configuration says: its own added tokens, tokens of the vocabulary that have a
/// role or are listed as special. A role makes an added token special; a list does not where the token's own
/// entry says otherwise (transformers 5 lists Gemma's runs of newlines). `vocabulary_id` gives the id of a
/// token of the vocabulary, or nothing.
template <typename VocabularyId>
void merge_added_tokens(std::vector<AddedToken>& added, const TokenizerConfig& config,
                        const VocabularyId& vocabulary_id) {
  std::unordered_map<std::string, size_t> place;
  for (size_t i = 0; i < added.size(); ++i) place.emplace(added[i].content, i);
  for (const AddedToken& token : config.added) {
    if (place.emplace(token.content, added.size()).second) added.push_back(token);
  }
  const auto add_special = [&](const std::string& content, bool role) {
    if (const auto found = place.find(content); found != place.end()) {
      if (role) added[found->second].special = true;
    } else if (const std::optional<int64_t> id = vocabulary_id(content); id.has_value()) {
      place.emplace(content, added.size());
      AddedToken token;
      token.content = content;
      token.id = *id;
      token.special = true;
      added.push_back(token);
    }
  };
  for (const std::string& content : config.special_tokens) add_special(content, true);
  for (const std::string& content : config.more_special_tokens) add_special(content, false);
}

/// The id of an added token, by its text.
std::optional<int64_t> added_token_id(const std::vector<AddedToken>& added,
                                      const std::optional<std::string>& content);

}  // namespace ropescope
