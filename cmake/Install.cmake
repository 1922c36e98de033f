# cmake --install build --prefix P: the executable, the data that it reads (../share/ropescope from where it lies, so that
# P may be moved), documents, licence, and completion for three shells. LibTorch is not copied: the executable finds it
# where it was when it was built.
# In a Python environment (python/CMakeLists.txt) it lies beside that one's torch, and takes its libraries from there.
foreach(_dir IN LISTS LibTorch_LIBRARY_DIRS)
  file(RELATIVE_PATH _beside "${LibTorch_ROOT_DIR}/.." "${_dir}")
  list(APPEND ROPESCOPE_BESIDE_TORCH "${_beside}")
endforeach()
list(TRANSFORM ROPESCOPE_BESIDE_TORCH PREPEND "$ORIGIN/../../" OUTPUT_VARIABLE _moved)
set_target_properties(ropescope PROPERTIES ROPESCOPE_MOVES ON BUILD_RPATH "${LibTorch_LIBRARY_DIRS}"
                                           INSTALL_RPATH "${_moved};${LibTorch_LIBRARY_DIRS}" INSTALL_RPATH_USE_LINK_PATH TRUE)
install(TARGETS ropescope RUNTIME DESTINATION bin)
install(FILES data/paper_tables.json data/parquet_to_jsonl.py DESTINATION share/ropescope)
install(FILES README.md CHANGELOG.md CITATION.cff LICENSE DESTINATION share/doc/ropescope)
install(DIRECTORY docs/ DESTINATION share/doc/ropescope/docs)
# Made by the executable from its own flags.
install(
  CODE "
  set(completions
      bash \"share/bash-completion/completions/ropescope\"
      zsh \"share/zsh/site-functions/_ropescope\"
      fish \"share/fish/vendor_completions.d/ropescope.fish\")
  set(prefix \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
  while(completions)
    list(POP_FRONT completions shell file)
    message(STATUS \"Installing: \${prefix}/\${file}\")
    get_filename_component(folder \"\${prefix}/\${file}\" DIRECTORY)
    file(MAKE_DIRECTORY \"\${folder}\")
    execute_process(COMMAND \"\${prefix}/bin/ropescope\" completion \${shell} OUTPUT_FILE \"\${prefix}/\${file}\"
                    COMMAND_ERROR_IS_FATAL ANY)
  endwhile()")
