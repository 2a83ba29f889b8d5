rule Persistence_Cron_Download
{
    meta:
        description = "A cron line that downloads and runs a script"
        severity = "high"
    strings:
        $get1 = "curl"
        $get2 = "wget"
        $cron = /(^|\n)\s{0,4}(([0-9*][0-9*\/,-]{0,12}\s{1,4}){5}|@(reboot|hourly|daily)\s{1,4})(root\s{1,4})?[^\n]{0,80}\b(curl|wget)\b[^\n]{0,200}\|\s{0,4}(ba|da|z)?sh\b/
    condition:
        filesize < 1MB and any of ($get*) and $cron
}

rule Persistence_Script_Downloads_And_Stays
{
    meta:
        description = "A shell script that downloads code and puts itself into cron, systemd, rc.local or ld.so.preload"
        severity = "high"
    strings:
        $sh = /^#!\s{0,4}\/(usr\/)?bin\/(env\s{1,4})?(ba|da|z|k)?sh/
        $get = /\b(curl|wget)\s[^\n]{0,200}(\|\s{0,4}(ba|da|z)?sh\b|-O\s{0,4}\/(tmp|var\/tmp|dev\/shm)\/|-o\s{0,4}\/(tmp|var\/tmp|dev\/shm)\/)/
        $cron = /(\|\s{0,4}crontab\s{1,4}-(\s|$)|>{1,2}\s{0,4}\/(etc\/cron|var\/spool\/cron)[a-z.\/]{0,20})/
        $unit = /(>{1,2}|-o|tee)\s{0,4}\/(etc|lib|usr\/lib)\/systemd\/system\/[a-z0-9_.-]{1,60}\.(service|timer)/ nocase
        $rc = />{1,2}\s{0,4}\/etc\/(rc\.local|rc\.d\/rc\.local|profile|ld\.so\.preload)/
    condition:
        filesize < 1MB and $sh at 0 and $get and any of ($cron, $unit, $rc)
}

rule Persistence_Authorized_Keys_Dropper
{
    meta:
        description = "A script that adds an SSH key of its own to authorized_keys and hides or locks it"
        severity = "high"
    strings:
        $key = /ssh-(rsa|ed25519)\s{1,4}AAAA[A-Za-z0-9+\/]{40}/
        $drop = /(>{1,2}|tee\s{1,4}-a)\s{0,4}["']?[^\n"']{0,60}\.ssh\/authorized_keys2?/
        $lock1 = "chattr +i" ascii
        $lock2 = "chattr -i" ascii
        $lock3 = "chattr -ia" ascii
        $lock4 = "history -c" ascii
        $lock5 = "unset HISTFILE" ascii
        $lock6 = /\b(curl|wget)\s[^\n]{0,200}\|\s{0,4}(ba)?sh\b/
    condition:
        filesize < 1MB and $key and $drop and 1 of ($lock*)
}

rule Persistence_Run_Key_Script
{
    meta:
        description = "A script that enters a hidden interpreter or a download into a Run key or a scheduled task"
        severity = "high"
    strings:
        $run = /(reg(\.exe)?"?\s{1,4}add\s{1,4}"?(HKCU|HKLM|HKEY_[A-Z_]{7,18})|(Set|New)-ItemProperty[^\n]{0,40}HK(CU|LM):?)\\Software\\Microsoft\\Windows\\CurrentVersion\\Run/ nocase ascii wide
        $task = /schtasks(\.exe)?"?\s{1,4}\/create\s/ nocase ascii wide
        $hidden1 = /powershell(\.exe)?"?\s[^\n]{0,80}-(w|window|windowstyle)\s{1,4}hidden/ nocase ascii wide
        $hidden2 = /powershell(\.exe)?"?\s[^\n]{0,80}-e(nc|ncodedcommand)?\s{1,4}[A-Za-z0-9+\/]{40}/ nocase ascii wide
        $hidden3 = /mshta(\.exe)?"?\s{1,4}["']?(https?:|javascript:|vbscript:)/ nocase ascii wide
        $hidden4 = /regsvr32(\.exe)?"?\s[^\n]{0,60}\/i:https?:/ nocase ascii wide
    condition:
        filesize < 1MB and uint16(0) != 0x5A4D and ($run or $task) and any of ($hidden*)
}
