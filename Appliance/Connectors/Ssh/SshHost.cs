using System.Diagnostics;
using System.Globalization;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Connectors.Ssh;

/// <summary>
/// Another host by OpenSSH's client, which asks nobody anything: one key of this side, one pinned key of the other, and none of this account's own
/// configuration. Forwarded sockets end with this process, however it ends.
/// </summary>
internal sealed class SshHost : IDisposable
{
    /// <summary>Runs the client for as long as anybody holds the other end of standard input, which is this process alone, and takes its socket away.</summary>
    private const string Leash = "exec 3<&0; \"$@\" </dev/null 3<&- & p=$!; (read x <&3; kill $p) & w=$!; wait $p; kill $w 2>/dev/null; rm -f \"$0\"; rmdir \"${0%/*}\" 2>/dev/null";

    /// <summary>The same, where what the client runs on the host is to notice too: its standard input ends when this process does.</summary>
    private const string LeashThrough = "exec 3<&0; \"$@\" <&3 3<&- & p=$!; (read x <&3; sleep 1; kill $p) & w=$!; wait $p; kill $w 2>/dev/null; rm -f \"$0\"; rmdir \"${0%/*}\" 2>/dev/null";

    /// <summary>What a program says once what it serves can be reached.</summary>
    private const string Ready = "ready";

    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(30);

    private readonly HeldFolder _folder;
    private readonly string[] _command;
    private readonly string _shown;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Process> _forwards = [];
    private int _made;

    /// <exception cref="ConnectorException">The configuration leaves something to be asked for.</exception>
    public SshHost(ConnectorSettings settings)
    {
        Uri address = settings.Address;
        string account = settings.Account ?? address.UserInfo;
        string program = Sandbox.Find("ssh") ?? throw new ConnectorException("ssh is missing; install it with: apt-get install -y openssh-client");
        string key = settings.HostKey ?? throw new ConnectorException($"{address}: the host's key is not known; configure it as \"hostKey\" (ssh-keyscan {address.Host} shows it, its owner confirms it)");
        string identity = settings.Identity ?? throw new ConnectorException($"{address}: there is no key to log in with; configure its file as \"identity\"");
        if (address.Host.Length == 0 || address.Host.StartsWith('-') || account.Length == 0 || account.StartsWith('-'))
        {
            throw new ConnectorException($"{address}: an account and a host are needed, such as libvirt+ssh://root@host/system");
        }

        _shown = address.Host;
        _folder = new HeldFolder("ssh");
        _command =
        [
            program, "-F", "none", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=none", "-o", "GlobalKnownHostsFile=none", "-o", $"KnownHostsCommand=/bin/echo vmsweep {key}",
            "-o", "HostKeyAlias=vmsweep", "-o", "CheckHostIP=no", "-o", "UpdateHostKeys=no", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", identity,
            "-o", "PreferredAuthentications=publickey", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-o", "ForwardAgent=no",
            "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "PermitLocalCommand=no", "-p", (address.Port > 0 ? address.Port : 22).ToString(CultureInfo.InvariantCulture), "-l", account,
        ];
    }

    /// <summary>A Unix socket of this machine that leads to one of the host, as long as this lives or <see cref="End"/> says so.</summary>
    /// <exception cref="ConnectorException">It cannot be had.</exception>
    public string Forward(string remote) => Begin(remote, null);

    /// <summary>Runs a program there that serves on a socket, and gives a socket of this machine that leads to it. It ends with the connection, or with <see cref="End"/>.</summary>
    /// <param name="remote">Where it makes its socket.</param>
    /// <param name="program">Words of a command that stays in the foreground.</param>
    /// <exception cref="ConnectorException">It cannot be had, or ended by itself.</exception>
    public string Serve(string remote, IReadOnlyList<string> program)
    {
        // Whatever becomes of the connection, the shell's standard input ends with it. A program that is just starting may lose the signal: qemu-nbd does.
        string line = $"exec 3<&0; {string.Join(' ', program.Select(Quoted))} </dev/null 3<&- & p=$!; (read x <&3; while kill $p 2>/dev/null; do sleep 1; done) & w=$!; "
            + $"while kill -0 $p 2>/dev/null; do if test -S {Quoted(remote)}; then echo {Ready}; break; fi; sleep 0.1; done; wait $p; s=$?; kill $w 2>/dev/null; exit $s";
        return Begin(remote, line);
    }

    private string Begin(string remote, string? line)
    {
        lock (_lock)
        {
            string local = _folder.File((++_made).ToString(CultureInfo.InvariantCulture));
            string[] forward = ["-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177", "-L", $"{local}:{Checked(remote)}", "--", _shown];
            string[] arguments = line is null ? [.. _command, "-N", .. forward] : [.. _command, .. forward, line];
            var start = new ProcessStartInfo("/bin/sh", ["-c", line is null ? Leash : LeashThrough, local, .. arguments]) { RedirectStandardInput = true, RedirectStandardError = true, RedirectStandardOutput = true };
            Process process = Process.Start(start)!;
            bool isReady = line is null;
            process.OutputDataReceived += (_, said) => Volatile.Write(ref isReady, Volatile.Read(ref isReady) || said.Data == Ready);
            process.BeginOutputReadLine();
            var said = new System.Text.StringBuilder();
            var end = new TaskCompletionSource();
            process.ErrorDataReceived += (_, line) =>
            {
                lock (said)
                {
                    said.Append(said.Length < 2000 ? line.Data + " " : "");
                }

                if (line.Data is null)
                {
                    end.TrySetResult();
                }
            };
            process.BeginErrorReadLine();
            long started = Environment.TickCount64;
            while (!File.Exists(local) || !Volatile.Read(ref isReady))
            {
                if (process.HasExited || Environment.TickCount64 - started > MostWait.TotalMilliseconds)
                {
                    // What it said last may be read after it has ended. Something of the account's may hold its standard error longer.
                    end.Task.Wait(process.HasExited ? TimeSpan.FromSeconds(5) : TimeSpan.Zero);
                    Stop(process);
                    lock (said)
                    {
                        string why = said.ToString().Trim();
                        throw new ConnectorException($"{_shown}: {(line is null ? "no connection by ssh" : "nothing is served by ssh")}: {why}") { IsLost = !IsRefused(why) };
                    }
                }

                Thread.Sleep(20);
            }

            _forwards.Add(local, process);
            return local;
        }
    }

    /// <summary>True while what <see cref="Forward"/> gave leads anywhere.</summary>
    public bool IsAlive(string local)
    {
        lock (_lock)
        {
            return _forwards.TryGetValue(local, out Process? process) && !process.HasExited;
        }
    }

    /// <summary>Ends what <see cref="Forward"/> gave.</summary>
    public void End(string local)
    {
        lock (_lock)
        {
            if (_forwards.Remove(local, out Process? process))
            {
                Stop(process);
                File.Delete(local);
            }
        }
    }

    /// <summary>Runs a line of shell there.</summary>
    /// <exception cref="ConnectorException">It fails.</exception>
    public string Run(string line) => TryRun(line, out string output, out string error) ? output : throw new ConnectorException($"{_shown}: {error}");

    /// <summary>False where the line says so by its status; a host that cannot be reached is an exception.</summary>
    /// <exception cref="ConnectorException">It cannot be reached.</exception>
    public bool TryRun(string line, out string output, out string error)
    {
        var start = new ProcessStartInfo(_command[0], [.. _command[1..], "--", _shown, line]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> said = process.StandardError.ReadToEndAsync();
        output = process.StandardOutput.ReadToEnd().Trim();
        process.WaitForExit();
        error = said.GetAwaiter().GetResult().Trim();
        return process.ExitCode == 0 || (process.ExitCode != 255 ? false : throw new ConnectorException($"{_shown}: no connection by ssh: {error}") { IsLost = !IsRefused(error) });
    }

    /// <summary>The host answers, and is another one or does not let the account in.</summary>
    private static bool IsRefused(string said) => said.Contains("Permission denied", StringComparison.Ordinal) || said.Contains("Host key verification failed", StringComparison.Ordinal);

    /// <summary>A word of a line of shell.</summary>
    public static string Quoted(string word) => "'" + word.Replace("'", "'\\''", StringComparison.Ordinal) + "'";

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (Process process in _forwards.Values)
            {
                Stop(process);
            }

            _forwards.Clear();
        }

        _folder.Dispose();
    }

    /// <summary>A colon would end the path in what ssh is given.</summary>
    private static string Checked(string path) => path.StartsWith('/') && !path.AsSpan().ContainsAny(':', '\0', '%') ? path : throw new ConnectorException($"\"{path}\" is no path of a socket that ssh can forward");

    private static void Stop(Process process)
    {
        try
        {
            process.StandardInput.Close();
            if (!process.WaitForExit(TimeSpan.FromSeconds(5)))
            {
                process.Kill(entireProcessTree: true);
                process.WaitForExit();
            }
        }
        catch (Exception e) when (e is InvalidOperationException or IOException or System.ComponentModel.Win32Exception)
        {
            // It has ended already.
        }

        process.Dispose();
    }
}
