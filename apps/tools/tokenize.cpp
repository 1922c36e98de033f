// ropescope tokenize: ids and decoded text of strings, or the text of ids.
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/text/text_file.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/text/utf8.h"

#include "command.h"
#include "inputs/model_folder.h"

namespace ropescope::app {

namespace tokenize {

namespace {

struct TokenizeFlags {
  std::string model;
  std::optional<std::string> text, file;
  bool no_special = false, specials_as_text = false, skip_special = false, decode = false;

  void bind(Flags& flags) {
    flags.group("Input");
    flags.add("model", model, "model folder (tokenizer files suffice) or .gguf file")
        .stands_for(opened_model)
        .required();
    flags.add("text", text, "one string");
    flags.add("file", file, "one JSON object a line, with `text` to be encoded or `ids` to be decoded");
    flags.group("How");
    flags.add("no-special", no_special,
              "add no start and end tokens (default: as the tokenizer's files say)");
    flags.add("specials-as-text", specials_as_text, "special tokens in the text are ordinary characters");
    flags.add("skip-special", skip_special, "leave special tokens out of the decoded text");
    flags.add("decode", decode, "print the decoded text in place of the table of tokens");
  }
};

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
  TextFile text(path);
  size_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    const Json object = parse_json(text.repaired(line, number), where);
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
  text.report();
}

int run(const TokenizeFlags& flags, const Invocation& invocation) {
  if (flags.text.has_value() == flags.file.has_value()) {
    throw UsageError("tokenize: expected either --text or --file");
  }
  TokenizeJob job;
  job.settings = invocation.settings;
  job.tokenizer = load_tokenizer(flags.model);
  job.encode.add_special = !flags.no_special;
  job.encode.specials_as_text = flags.specials_as_text;
  job.skip_special = flags.skip_special;
  job.decode = flags.decode;
  if (flags.text) {
    print_result(job, job.tokenizer->encode(*flags.text, job.encode));
  } else {
    tokenize_file(job, *flags.file);
  }
  if (std::fflush(stdout) != 0) throw EnvironmentError("stdout: writing failed");
  return 0;
}

}  // namespace

}  // namespace tokenize

extern const Command kTokenize;
const Command kTokenize = make_command<tokenize::TokenizeFlags>(
    "tokenize", "Turns text into token ids, and ids back into text.",
    "ropescope tokenize --model SmolLM2.gguf --text \"Hello world\"", kTables, tokenize::run);

}  // namespace ropescope::app
