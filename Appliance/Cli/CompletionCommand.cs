using System.CommandLine;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep completion</c>: a script for the shell. It asks this program, so that it cannot drift.</summary>
internal static class CompletionCommand
{
    private const string Bash = """
        _vmsweep() {
            local words
            mapfile -t words < <("${COMP_WORDS[0]}" "[suggest:${COMP_POINT}]" "${COMP_LINE}" 2>/dev/null)
            mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "${COMP_WORDS[COMP_CWORD]}")
            if [ ${#COMPREPLY[@]} -eq 0 ]; then mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"); fi
        }
        complete -o filenames -F _vmsweep vmsweep ./vmsweep
        """;

    private const string Zsh = """
        #compdef vmsweep
        _vmsweep() {
            local -a found
            found=("${(@f)$("${words[1]}" "[suggest:${CURSOR}]" "${BUFFER}" 2>/dev/null)}")
            compadd -- "${found[@]}" || _files
        }
        compdef _vmsweep vmsweep
        """;

    public static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = "bash or zsh." };
        shell.AcceptOnlyFromAmong("bash", "zsh");
        var command = new Command("completion", "Prints a completion script: source <(vmsweep completion bash).") { shell };
        command.SetAction(parsed =>
        {
            Console.WriteLine(parsed.GetRequiredValue(shell) == "bash" ? Bash : Zsh);
            return ExitStatus.Clean;
        });
        return command;
    }
}
