// ropescope tokenize, run as a user runs it.
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/core/json.h"

#include "tests/support/golden.h"

namespace ropescope::testing {
namespace {

const std::string kQwenModel = "'" + golden_path("language/qwen2-tiny/safetensors-bf16-tied") + "'";
const std::string kLlamaModel = "'" + golden_path("language/llama-tiny/safetensors-fp32") + "'";

TEST(TokenizeCommand, EveryGoldenStringThroughAFile) {
  const TemporaryFolder folder;
  const std::string path = folder.path("texts.jsonl");
  const Json strings = golden_json("language/tokenizers/strings.json");
  std::ofstream file(path);
  for (const Json& entry : strings) file << Json{{"text", entry.at("text")}}.dump(-1, ' ', true) << "\n";
  file.close();
  const Json golden = golden_json("language/tokenizers/qwen2_tiny_lm.json").at("encode");
  for (const std::string flags : {"", " --specials-as-text", " --skip-special"}) {
    SCOPED_TRACE(flags);
    const CommandResult result = run_ropescope("tokenize --model " + kQwenModel + " --file " + path +
                                               " --json --no-special --decode" + flags);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const std::vector<Json> lines = json_lines(result.out);
    ASSERT_EQ(lines.size(), strings.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      const Json& entry = golden.at(strings[i].at("name").get<std::string>());
      const bool as_text = flags == " --specials-as-text" && entry.contains("ids_specials_as_text");
      EXPECT_EQ(lines[i].at("ids"), entry.at(as_text ? "ids_specials_as_text" : "ids"));
      const bool skipped = flags == " --skip-special" && entry.contains("decoded_skip_special");
      const Json decoded = entry.contains("decoded") ? entry.at("decoded") : strings[i].at("text");
      EXPECT_EQ(lines[i].at("text"), skipped ? entry.at("decoded_skip_special") : decoded);
    }
  }
}

TEST(TokenizeCommand, StartTokenUnlessTold) {
  const std::string line = "tokenize --model " + kLlamaModel + " --json --text ' a'";
  EXPECT_EQ(run_ropescope(line).out, "{\"ids\":[1,319,265],\"text\":\" a\"}\n");
  EXPECT_EQ(run_ropescope(line + " --no-special").out, "{\"ids\":[319,265],\"text\":\" a\"}\n");
}

TEST(TokenizeCommand, LinesOfIdsAreDecoded) {
  const TemporaryFolder folder;
  const std::string path = folder.path("ids.jsonl");
  std::ofstream(path)
      << "{\"ids\": [39, 72, 351]}\r\n\n{\"text\": \"Hi\"}\n{\"ids\": []}\n{\"ids\": [172, 253]}\n";
  const CommandResult result =
      run_ropescope("tokenize --model " + kQwenModel + " --json --skip-special --file " + path);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::vector<Json> lines = json_lines(result.out);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], Json::parse(R"({"ids": [39, 72, 351], "text": "Hi"})"));
  EXPECT_EQ(lines[1], Json::parse(R"({"ids": [39, 72], "text": "Hi"})"));
  EXPECT_EQ(lines[2], Json::parse(R"({"ids": [], "text": ""})"));
  EXPECT_EQ(lines[3].at("text"), "\xEF\xBF\xBD");
}

TEST(TokenizeCommand, TableForPeople) {
  const CommandResult table = run_ropescope("tokenize --model " + kQwenModel + " --text 'Hi there'");
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.out.find("index        id  token\n"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("\xC4\xA0the\n"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("tokens, byte-level BPE (tokenizer.json)\n"), std::string::npos) << table.out;
  EXPECT_EQ(run_ropescope("tokenize --model " + kQwenModel + " --decode --text 'Hi there'").out,
            "Hi there\n");
  EXPECT_EQ(run_ropescope("tokenize --model " + kQwenModel + " --csv --text 'H\"'").out,
            "index,id,token\n0,39,\"H\"\n1,1,\"\"\"\"\n");
}

TEST(TokenizeCommand, FaultsHaveTheirExitCodes) {
  const TemporaryFolder folder;
  const std::string path = folder.path("bad.jsonl");
  std::ofstream(path) << "{\"text\": \"ok\"}\n{\"ids\": [352]}\n";
  const CommandResult outside = run_ropescope("tokenize --json --model " + kQwenModel + " --file " + path);
  EXPECT_EQ(outside.exit_code, 3);
  EXPECT_NE(outside.err.find("352"), std::string::npos) << outside.err;
  EXPECT_EQ(run_ropescope("tokenize --model " + kQwenModel).exit_code, 2);
  EXPECT_EQ(run_ropescope("tokenize --text a").exit_code, 2);
  EXPECT_EQ(run_ropescope("tokenize --model " + folder.path("") + " --text a").exit_code, 3);
  EXPECT_EQ(run_ropescope("tokenize --model " + kQwenModel + " --file " + folder.path("missing")).exit_code,
            3);
}

}  // namespace
}  // namespace ropescope::testing
