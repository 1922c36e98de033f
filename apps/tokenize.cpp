// ropescope tokenize: ids and decoded text of strings, or the text of ids.
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/text/utf8.h"

#include "command.h"

namespace ropescope::app {

namespace {

std::vector<po::options_description> options() {
  po::options_description input("Input", 110, 55);
  input.add_options()  //
      ("model", po::value<std::string>(), "model folder (tokenizer files suffice) or .gguf file")(
          "text", po::value<std::string>(), "one string")(
          "file", po::value<std::string>(),
          "one JSON object a line, with `text` to be encoded or `ids` to be decoded");
  po::options_description how("How", 110, 55);
  how.add_options()  //
      ("no-special", po::bool_switch(),
       "add no start and end tokens (default: as the tokenizer's files say)")(
          "specials-as-text", po::bool_switch(), "special tokens in the text are ordinary characters")(
          "skip-special", po::bool_switch(), "leave special tokens out of the decoded text")(
          "decode", po::bool_switch(), "print the decoded text in place of the table of tokens");
  return {input, how};
}

struct TokenizeJob {
  std::unique_ptr<Tokenizer> tokenizer;
  EncodeOptions encode;
  bool skip_special = false;
  bool decode = false;
  CommonSettings settings;
};

/// {"ids":[...],"text":"..."}; numbers are written by hand because a corpus has millions of them. Characters
/// beyond ASCII are escaped: many readers take U+2028 or U+0085 for the end of a line.
std::string json_line(const std::vector<int64_t>& ids, const std::string& text) {
  std::string line = "{\"ids\":[";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) line += ',';
    line += fmt::format_int(ids[i]).c_str();
  }
  return line + "],\"text\":" + Json(text).dump(-1, ' ', true) + "}\n";
}

std::string csv_field(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

void print_result(const TokenizeJob& job, const std::vector<int64_t>& ids) {
  std::string out;
  if (job.settings.json) {
    out = json_line(ids, job.tokenizer->decode(ids, job.skip_special));
  } else if (job.decode) {
    out = job.tokenizer->decode(ids, job.skip_special) + "\n";
  } else {
    out = job.settings.csv ? "index,id,token\n" : fmt::format("{:>8}{:>10}  {}\n", "index", "id", "token");
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::string token = replace_broken_utf8(job.tokenizer->token(ids[i]));
      out += job.settings.csv ? fmt::format("{},{},{}\n", i, ids[i], csv_field(token))
                              : fmt::format("{:>8}{:>10}  {}\n", i, ids[i], token);
    }
    if (!job.settings.csv) out += fmt::format("{} tokens, {}\n", ids.size(), job.tokenizer->description());
  }
  std::fwrite(out.data(), 1, out.size(), stdout);
}

std::vector<int64_t> read_ids(const Json& list) {
  if (!list.is_array()) throw InputError("\"ids\": expected a list of integers, found {}", list.dump());
  std::vector<int64_t> ids;
  ids.reserve(list.size());
  for (const Json& id : list) {
    const bool fits = id.is_number_integer() && !(id.is_number_unsigned() && id.get<uint64_t>() > INT64_MAX);
    if (!fits) throw InputError("\"ids\": expected integers, found {}", id.dump());
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

void tokenize_file(const TokenizeJob& job, const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError("--file {}: cannot be read", path);
  size_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    const Json object = parse_json(is_valid_utf8(line) ? line : replace_broken_utf8(line), where);
    if (!object.is_object()) throw InputError("{}: expected a JSON object", where);
    try {
      if (object.contains("ids") && !object.contains("text")) {
        print_result(job, read_ids(object["ids"]));
      } else {
        print_result(job, job.tokenizer->encode(json_string(object, "text", "object"), job.encode));
      }
    } catch (const InputError& error) {
      throw InputError("{}: {}", where, error.what());
    }
  }
  if (stream.bad()) throw InputError("--file {}: reading failed after line {}", path, number);
}

int run(const Arguments& arguments) {
  TokenizeJob job;
  job.settings = common_settings(arguments);
  const std::string model = required_text(arguments, "model");
  const bool has_text = arguments.values.count("text") > 0;
  const bool has_file = arguments.values.count("file") > 0;
  if (has_text == has_file) throw UsageError("tokenize: expected either --text or --file");
  job.tokenizer = load_tokenizer(model);
  job.encode.add_special = !arguments.flag("no-special");
  job.encode.specials_as_text = arguments.flag("specials-as-text");
  job.skip_special = arguments.flag("skip-special");
  job.decode = arguments.flag("decode");
  if (has_text) {
    print_result(job, job.tokenizer->encode(arguments.get<std::string>("text"), job.encode));
  } else {
    tokenize_file(job, arguments.get<std::string>("file"));
  }
  if (std::fflush(stdout) != 0) throw EnvironmentError("stdout: writing failed");
  return 0;
}

}  // namespace

extern const Command kTokenize;
const Command kTokenize{"tokenize", "Turns text into token ids, and ids back into text.",
                        "ropescope tokenize --model SmolLM2.gguf --text \"Hello world\"", options, run};

}  // namespace ropescope::app
