// Every corpus form on small files made here, and the real dictionary where it is installed.
#include "ropescope/text/corpus.h"

#include <cstdio>
#include <filesystem>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "ropescope/core/errors.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope::testing {
namespace {

namespace fs = std::filesystem;

using Documents = std::vector<std::pair<std::string, std::string>>;

Documents read_all(const fs::path& path, CorpusForm form = CorpusForm::kAuto) {
  Documents documents;
  visit_documents(path, form, [&](const Document& document) {
    documents.emplace_back(document.name, document.text);
    return true;
  });
  return documents;
}

/// dictd's base-64 number.
std::string number(size_t value) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  do {
    out.insert(out.begin(), digits[value % 64]);
    value /= 64;
  } while (value > 0);
  return out;
}

/// A dictionary of a header and three entries, the second under two headwords, the index in dictd's order.
std::string write_dictionary(const TemporaryFolder& folder, bool packed) {
  const std::string header = "00-database-info\n  made here\n";
  const std::vector<std::string> entries = {"zebra\n  striped\n",
                                            "ape\n  \xC3\xA9"
                                            "hairy\n",
                                            std::string(5000, 'x') + "\n"};
  std::string text = header;
  std::vector<size_t> offsets;
  for (const std::string& entry : entries) {
    offsets.push_back(text.size());
    text += entry;
  }
  const auto line = [&](const std::string& word, size_t i) {
    return word + "\t" + number(offsets[i]) + "\t" + number(entries[i].size()) + "\n";
  };
  folder.write("d.index", "00-database-info\tA\t" + number(header.size()) + "\n" + line("ape", 1) +
                              line("monkey", 1) + line("xs", 2) + line("zebra", 0));
  if (packed) {
    gzFile file = gzopen(folder.path("d.dict.dz").c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
  } else {
    folder.write("d.dict", text);
  }
  return text;
}

TEST(Corpus, TextFileIsOneDocument) {
  const TemporaryFolder folder;
  folder.write("a.txt", "\xEF\xBB\xBFone\r\ntwo\rthree\n\n");
  EXPECT_EQ(read_all(folder.path("a.txt")), (Documents{{"a.txt", "one\ntwo\rthree\n\n"}}));
  folder.write("b.txt", "a\xE2\x82z\xFF");
  EXPECT_EQ(read_all(folder.path("b.txt")), (Documents{{"b.txt", "a\xEF\xBF\xBDz\xEF\xBF\xBD"}}));
}

TEST(Corpus, WhatIsNoTextIsRefused) {
  using namespace std::string_literals;
  const TemporaryFolder folder;
  const std::vector<std::tuple<std::string, std::string, std::string>> files = {
      {"wt.parquet", "PAR1\x15\0rows PAR1"s, "data/parquet_to_jsonl.py"},
      {"photo.png", "\x89PNG\r\n\x1A\n", "a PNG picture"},
      {"photo.txt", "\xFF\xD8\xFF\xE0", "a JPEG picture"},
      {"ls",
       "\x7F"
       "ELF\2\1\1\0"s,
       "a program"},
      {"sixteen.txt",
       "\xFF\xFE"
       "a\0b\0"s,
       "UTF-16"},
      {"nul.txt", "plain, then\0"s, "a NUL byte"},
      {"nul.jsonl", "{\"text\": \"a\0b\"}\n"s, "a NUL byte"},
      {"half.txt", std::string(4000, '\xE9'), "no UTF-8"}};
  for (const auto& [name, bytes, part] : files) {
    folder.write(name, bytes);
    const std::string sentence = refusal_of([&] { read_all(folder.path(name)); });
    EXPECT_THAT(sentence, ::testing::HasSubstr(part)) << name;
    EXPECT_THAT(sentence, ::testing::HasSubstr(name)) << name;
  }
  // Letters that a binary form begins with are text where its other marks are missing.
  folder.write("par.txt", "PAR1 is a magic number");
  EXPECT_EQ(read_all(folder.path("par.txt")).size(), 1u);
}

TEST(Corpus, BrokenCharactersAreCounted) {
  const TemporaryFolder folder;
  folder.write("latin.txt", "caf\xE9\nna\xEFve\n");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(read_all(folder.path("latin.txt"), CorpusForm::kTextLines).size(), 2u);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, ::testing::HasSubstr("latin.txt: 2 broken UTF-8 characters (the first in line 1)"));
  EXPECT_THAT(said, ::testing::HasSubstr("iconv"));
}

TEST(Corpus, SaysWhichFilesItReadAndWhichItPassedOver) {
  const TemporaryFolder folder;
  folder.write("a.txt", "one");
  folder.write("b.md", "two");
  folder.write("c.mp4", "three");
  folder.write("d.jsonl", "{\"text\": \"four\"}\n");
  ::testing::internal::CaptureStderr();
  std::vector<std::string> read;
  for (const fs::path& file :
       visit_documents(folder.path(""), CorpusForm::kAuto, [](const Document&) { return true; })) {
    read.push_back(file.filename().string());
  }
  EXPECT_EQ(read, (std::vector<std::string>{"a.txt", "d.jsonl"}));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), ::testing::HasSubstr("passed over 2 files"));
}

TEST(Corpus, LinesAreDocuments) {
  const TemporaryFolder folder;
  folder.write("a.txt", "\xEF\xBB\xBFone\r\n\n   \n two\nlast");
  EXPECT_EQ(read_all(folder.path("a.txt"), CorpusForm::kTextLines),
            (Documents{{"a.txt:1", "one"}, {"a.txt:4", " two"}, {"a.txt:5", "last"}}));
}

TEST(Corpus, JsonlTakesTheTextKey) {
  const TemporaryFolder folder;
  folder.write("a.jsonl",
               "{\"text\": \"a\\r\\nb\"}\n\n{\"title\": \"T\", \"text\": \"\\ud83d\\ude42\"}\r\n{\"id\": 7, "
               "\"text\": \"\"}\n");
  EXPECT_EQ(read_all(folder.path("a.jsonl")),
            (Documents{{"a.jsonl:1", "a\r\nb"}, {"T", "\xF0\x9F\x99\x82"}, {"7", ""}}));
}

TEST(Corpus, JsonlErrorsNameTheLine) {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.jsonl");
  for (const char* bad : {"{\"text\": 3}", "{}", "[1]", "{\"text\": \"a\"", "3"}) {
    folder.write("a.jsonl", std::string("{\"text\": \"ok\"}\n") + bad + "\n");
    EXPECT_THAT(refusal_of([&] { read_all(path); }), ::testing::HasSubstr(path + ":2")) << bad;
  }
}

TEST(Corpus, WikitextIsCutAtArticles) {
  const TemporaryFolder folder;
  folder.write("wiki.raw",
               " \n = First = \n \n text = here = \n \n = = Section = = \n \n more \n = = = Sub = = = \n"
               " = 1 + 1 = 2 = \n other \n =  = \n");
  const Documents documents = read_all(folder.path("wiki.raw"));
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].first, "First");
  EXPECT_EQ(documents[0].second,
            " = First = \n \n text = here = \n \n = = Section = = \n \n more \n = = = Sub = = = \n");
  EXPECT_EQ(documents[1].first, "1 + 1 = 2");
  EXPECT_EQ(documents[1].second, " = 1 + 1 = 2 = \n other \n =  = \n");
}

TEST(Corpus, WikitextKeepsTextBeforeTheFirstHeading) {
  const TemporaryFolder folder;
  folder.write("w.txt", "intro\n = A = \nx\n");
  EXPECT_EQ(read_all(folder.path("w.txt"), CorpusForm::kWikitext),
            (Documents{{"w.txt", "intro\n"}, {"A", " = A = \nx\n"}}));
  // Without a heading at its start it is an ordinary text.
  EXPECT_EQ(read_all(folder.path("w.txt")).size(), 1u);
}

TEST(Corpus, DictionaryByAnyOfItsNames) {
  for (const bool packed : {true, false}) {
    const TemporaryFolder folder;
    write_dictionary(folder, packed);
    const std::string text_name = packed ? "d.dict.dz" : "d.dict";
    const Documents expected = {{"zebra", "zebra\n  striped\n"},
                                {"ape",
                                 "ape\n  \xC3\xA9"
                                 "hairy\n"},
                                {"xs", std::string(5000, 'x') + "\n"}};
    EXPECT_EQ(read_all(folder.path(text_name)), expected);
    EXPECT_EQ(read_all(folder.path("d.index")), expected);
    EXPECT_EQ(read_all(folder.path("d")), expected);
    EXPECT_EQ(read_all(folder.path("")), expected);
  }
}

TEST(Corpus, DamagedDictionariesAreRefused) {
  const TemporaryFolder folder;
  write_dictionary(folder, true);
  for (const std::string bad : {"word\tA\n", "word\t?\tB\n", "word\tA\t//////////////\n", "word\tA\tzzzzzz\n",
                                "word\tzzzzzz\tB\n", "word\t\tB\n"}) {
    folder.write("d.index", bad);
    EXPECT_THROW(read_all(folder.path("d")), InputError) << bad;
  }
  write_dictionary(folder, true);
  fs::resize_file(folder.path("d.dict.dz"), fs::file_size(folder.path("d.dict.dz")) / 2);
  EXPECT_THROW(read_all(folder.path("d")), InputError);
  EXPECT_THROW(read_all(folder.path("missing")), InputError);
}

TEST(Corpus, FoldersAreReadInOrder) {
  const TemporaryFolder folder;
  folder.write("b/2.txt", "B2");
  folder.write("a.jsonl", "{\"text\": \"A1\"}\n{\"text\": \"A2\"}\n");
  folder.write("b/1.txt", "B1");
  folder.write("c.md", "not taken");
  folder.write(".hidden.txt", "not taken");
  fs::create_directory_symlink(folder.path("b"), folder.path("b/loop"));
  EXPECT_EQ(read_all(folder.path("")),
            (Documents{{"a.jsonl:1", "A1"}, {"a.jsonl:2", "A2"}, {"1.txt", "B1"}, {"2.txt", "B2"}}));
  fs::create_directories(folder.path("empty"));
  EXPECT_THROW(read_all(folder.path("empty")), InputError);
}

TEST(Corpus, VisitorEndsTheReading) {
  const TemporaryFolder folder;
  // What follows the first document is broken, so reading on would throw.
  folder.write("1.jsonl", "{\"text\": \"one\"}\nbroken\n");
  folder.write("2.jsonl", "broken\n");
  int seen = 0;
  visit_documents(folder.path(""), CorpusForm::kAuto, [&](const Document&) { return ++seen < 1; });
  EXPECT_EQ(seen, 1);
}

TEST(Corpus, FormNames) {
  EXPECT_EQ(parse_corpus_form("wikitext"), CorpusForm::kWikitext);
  EXPECT_EQ(parse_corpus_form("lines"), CorpusForm::kTextLines);
  EXPECT_THROW(parse_corpus_form("wikitexts"), UsageError);
}

TEST(Corpus, Foldoc) {
  const std::string path = "/usr/share/dictd/foldoc.dict.dz";
  if (!fs::exists(path)) GTEST_SKIP() << "the package dict-foldoc is not installed";
  const Documents documents = read_all(path);
  EXPECT_GT(documents.size(), 10'000u);
  size_t headers = 0;
  for (const auto& [name, text] : documents) {
    EXPECT_FALSE(text.empty()) << name;
    if (name.rfind("00-database", 0) == 0) ++headers;
  }
  EXPECT_EQ(headers, 0u);
  EXPECT_EQ(read_all("/usr/share/dictd/foldoc"), documents);
}

}  // namespace
}  // namespace ropescope::testing
