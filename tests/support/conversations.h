// What the tests of chat templates and of labels share: tests/golden/vision/conversations.
#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/text/chat_template.h"
#include "ropescope/text/tokenizer.h"

#include "tests/support/golden.h"

namespace ropescope::testing {

inline const std::string kConversations = "vision/conversations/";

inline std::vector<ChatTurn> turns_of(const Json& json) {
  std::vector<ChatTurn> turns;
  for (const Json& turn : json) turns.push_back({turn.at("from") == "human", turn.at("value")});
  return turns;
}

/// The tiny Llama tokenizer with `legacy` as asked; `folder` holds its files.
inline std::unique_ptr<Tokenizer> llama_tokenizer(bool legacy, const TemporaryFolder& folder) {
  const std::string source = golden_path(kConversations + "llama-tiny/");
  std::ifstream model(source + "tokenizer.model", std::ios::binary);
  std::ofstream(folder.path("tokenizer.model"), std::ios::binary) << model.rdbuf();
  Json config = golden_json(kConversations + "llama-tiny/tokenizer_config.json");
  config["legacy"] = legacy;
  std::ofstream(folder.path("tokenizer_config.json")) << config.dump();
  return load_tokenizer(folder.path(""));
}

}  // namespace ropescope::testing
