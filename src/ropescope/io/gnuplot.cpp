#include "ropescope/io/gnuplot.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ropescope/core/errors.h"

extern char** environ;

namespace ropescope {

namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;

/// An unnamed file rather than a pipe: no deadlock when gnuplot talks back, no SIGPIPE when it dies early.
TemporaryFile temporary_file() {
  TemporaryFile file(std::tmpfile());
  if (!file) throw EnvironmentError("gnuplot: no temporary file can be made ({})", std::strerror(errno));
  return file;
}

std::string first_lines(std::FILE* file) {
  std::rewind(file);
  std::string text(2000, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

}  // namespace

std::string gnuplot_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "’";  // gnuplot's doubled quote fails at the start of a string
    } else {
      quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return quoted + "'";
}

void run_gnuplot(const std::string& script, const std::filesystem::path& output) {
  const TemporaryFile input = temporary_file(), messages = temporary_file();
  if (std::fwrite(script.data(), 1, script.size(), input.get()) != script.size() ||
      std::fflush(input.get()) != 0) {
    throw EnvironmentError("gnuplot: the script cannot be written ({})", std::strerror(errno));
  }
  lseek(fileno(input.get()), 0, SEEK_SET);

  FileActions actions;
  posix_spawn_file_actions_adddup2(actions.get(), fileno(input.get()), 0);
  posix_spawn_file_actions_addopen(actions.get(), 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(actions.get(), fileno(messages.get()), 2);
  // Without -d a personal start-up file could change any setting; a named script stops at its first error.
  char program[] = "gnuplot", plain[] = "-d", standard_input[] = "/dev/stdin";
  char* arguments[] = {program, plain, standard_input, nullptr};
  pid_t child = 0;
  const int code = posix_spawnp(&child, program, actions.get(), nullptr, arguments, environ);
  if (code == ENOENT) {
    throw EnvironmentError("gnuplot is not installed and figures need it; try: apt-get install gnuplot-nox");
  }
  if (code != 0) throw EnvironmentError("gnuplot cannot be started ({})", std::strerror(code));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  std::error_code missing;
  const bool empty = std::filesystem::file_size(output, missing) == 0 || missing;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || empty) {
    throw EnvironmentError("{}: gnuplot failed: {}", output.string(), first_lines(messages.get()));
  }
}

}  // namespace ropescope
