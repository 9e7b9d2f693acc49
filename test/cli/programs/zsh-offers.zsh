# What zsh offers at the end of each line, one a line, and then a line with a dot:
#   zsh -f zsh-offers.zsh SCRIPT ROOM LINE...
# An interactive zsh on a terminal of its own loads the completion system and the script, gets each line typed and Tab
# pressed; each time completion adds matches, they are written down.
zmodload zsh/zpty
script=$1 room=$2
shift 2
cat > $room/.zshrc <<END
PROMPT=
unsetopt beep
autoload -Uz compinit && compinit -u -d $room/dump
source $script
compadd() {
  if [[ -z \${@[(r)-O]}\${@[(r)-A]}\${@[(r)-D]} ]]; then
    local -a offered
    builtin compadd -O offered "\$@"
    print -rl -- \$offered >> $room/offered
  fi
  builtin compadd "\$@"
}
offer() { zle complete-word; : > $room/done }
zle -N offer
bindkey '^I' offer
: > $room/ready
END
zpty shell env ZDOTDIR=$room TERM=dumb zsh -d -i
await() {
  local chunk
  for ((look = 0; look < 500; look++)); do
    [[ -e $room/$1 ]] && return
    zpty -r -t shell chunk
    sleep 0.02
  done
  print -u2 "the inner shell did not come to: $1"
  exit 1
}
await ready
for line; do
  : > $room/offered
  zpty -w -n shell "$line"$'\t'
  await done
  rm $room/done
  sort -u $room/offered | grep .
  print .
  # Ctrl-U empties the line.
  zpty -w -n shell $'\C-u'
done
zpty -d shell
